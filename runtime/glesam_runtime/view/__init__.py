"""glesam-view: a local page to click on, served by Starlette and uvicorn (pip install 'glesam[view]').

server    binds an address, prints it, and serves until Ctrl-C
guard     who may ask: hosts, the token in the address, requests of other sites; the page's security headers
app       addresses of the page, and which function answers each
requests  what the page sends, read within limits and checked
worker    the one thread that owns the model
tabs      open tabs: each has a picture of its own, degraded or not, with and without GLE
library   pictures of the folder and samples; nothing outside them
answers   masks as 1-bit PNG, scores, and milliseconds of each stage
saving    masks at full size: PNG, COCO RLE, polygons
calls     the same request as a command line and as Python
page/     index.html, style.css and ES modules, as plain files

GLE is generative latent space enhancement, GleSAM's part between the encoder and the decoder.
"""
