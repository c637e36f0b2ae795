"""The files of the authors and of the projects they build on, both ways.

    lora            pytorch_lora_weights.safetensors            load_lora, save_lora
    decoder         ft-decoder.pth                              load_decoder, save_decoder
    sam             sam_vit_{b,l,h}_*.pth, GleSAM-l.pth         load_sam
    unet            Stable Diffusion's unet/ folder             load_unet
    text_embedding  the empty prompt, encoded                   load_text_embedding
    build           all of them -> GleSam                       build_official

Errors a file can cause are `glesam.model.CheckpointError`s of one line.
"""
