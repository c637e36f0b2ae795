"""The optional terms of stage 1: distribution matching and a GAN, and the critic that both need."""
