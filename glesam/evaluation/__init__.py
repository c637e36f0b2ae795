"""Evaluation: how close masks are to the truth, on clean and on degraded pictures.

    selection     which pictures, and their prompts         sources       checkpoints and bundles as methods
    prompts       the prompts and their file                methods       what is evaluated; two baselines
    evaluate      pictures x levels x methods -> scores     metrics       IoU, Dice, boundary IoU, accuracy
    score         a score and the names it is filed under   results       scores as CSV, and their means
    gains, table  what GLE gains; the tables                cases, contact_sheet    a picture to look at
    run           all of it, from data to files             earlier_runs, log       rows to join; messages
    remembered    results that methods share

`glesam.cli.evaluate` is the command, glesam-eval. torch is imported only where a checkpoint is opened.
"""
