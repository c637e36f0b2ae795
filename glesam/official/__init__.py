"""Reads and writes the official files: those of the authors and of the projects they build on.

    lora            pytorch_lora_weights.safetensors            load_lora, save_lora
    decoder         ft-decoder.pth                              load_decoder, save_decoder
    sam             sam_vit_{b,l,h}_*.pth, GleSAM-l.pth         load_sam
                    sam2_hiera_*.pt, sam2.1_hiera_*.pt          load_sam
    robust_sam      robustsam_checkpoint_{b,l,h}.pth            load_robust_sam
    unet            Stable Diffusion's unet/ folder             load_unet
    text_embedding  the empty prompt, encoded                   load_text_embedding
    build           all of them -> a model                      OfficialFiles, build_official

A file that cannot be used raises a `glesam_runtime.errors.CheckpointError` of one line.
"""
