/*
 * The C API of glesam: the only symbols that the shared library exports.
 *
 * Most C++ programs include glesam.hpp instead, a thin layer over this file. docs/cpp.md is the guide to both.
 *
 * - No function throws, aborts or prints. Each that can fail returns a glesam_status; glesam_last_error() says in
 *   one line what was expected, what was found and what to do. Each thread has its own.
 * - Objects are opaque and freed by their own *_free. Freeing NULL is allowed.
 * - Many threads may use one glesam_bundle. A glesam_predictor belongs to one thread at a time;
 *   glesam_predictor_new_session() gives another thread its own on the same compiled graphs.
 * - Images, coordinates and tensors are those of docs/bundle.md. S is the model's image_size. Arrays are dense, in C
 *   order.
 */
#ifndef GLESAM_GLESAM_H
#define GLESAM_GLESAM_H

#include <stddef.h>
#include <stdint.h>

#if defined(__GNUC__)
#define GLESAM_API __attribute__((visibility("default")))
#else
#define GLESAM_API
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* ---- errors ---------------------------------------------------------------------------------------------------- */

/* The kinds of errors; 1 to 4 are the Python package's exceptions of the same name. Later versions may add codes. */
typedef enum glesam_status {
    GLESAM_OK = 0,
    GLESAM_BUNDLE_ERROR = 1,   /* the bundle is missing, tampered with, or not what docs/bundle.md says */
    GLESAM_BACKEND_ERROR = 2,  /* a backend is unknown, absent, or refuses a graph or its feeds */
    GLESAM_IMAGE_ERROR = 3,    /* a picture is empty, is missing, or cannot be resized that way */
    GLESAM_PROMPT_ERROR = 4,   /* a prompt does not fit the picture or the model */
    GLESAM_ARGUMENT_ERROR = 5, /* a null pointer, or a value that the types allow and this header does not */
    GLESAM_INTERNAL_ERROR = 6  /* out of memory, or a bug in glesam */
} glesam_status;

/* This thread's latest error, or "". Valid until this thread's next failing call. */
GLESAM_API const char* glesam_last_error(void);

/* The library's version, "0.1.0". */
GLESAM_API const char* glesam_version(void);

/* ---- the bundle ------------------------------------------------------------------------------------------------ */

typedef struct glesam_bundle glesam_bundle;

/* The model as bundle.json describes it. Strings live as long as the bundle or predictor that they came from. */
typedef struct glesam_model_info {
    const char* name;
    const char* sam_type;
    const char* precision;
    const char* hash; /* sha256 of bundle.json, lower-case hex: the bundle's identity */
    int32_t multimask;
    int32_t image_size; /* S, pixels */
    double pixel_mean[3];
    double pixel_std[3];
    double mask_threshold;
    double gamma; /* of GLE; 0 for RobustSAM, as timestep */
    int64_t timestep;
} glesam_model_info;

/* Reads and verifies the bundle in folder `path` (UTF-8). Every file is hashed once. */
GLESAM_API glesam_status glesam_bundle_open(const char* path, glesam_bundle** bundle);
/* The same for a bundle that glesam-sign signed; public_key: a PEM file (UTF-8) with its maker's Ed25519 key. */
GLESAM_API glesam_status glesam_bundle_open_signed(const char* path, const char* public_key, glesam_bundle** bundle);
GLESAM_API glesam_status glesam_bundle_describe(const glesam_bundle* bundle, glesam_model_info* info);
GLESAM_API void glesam_bundle_free(glesam_bundle* bundle);

typedef struct glesam_backend_choice {
    char backend[32]; /* "openvino" */
    char reason[224]; /* "auto: for bf16 graphs, which onnxruntime cannot compute on a CPU" */
} glesam_backend_choice;

/* The backend that "auto", or a name, stands for with this bundle, and why. Fails as glesam_predictor_open would. */
GLESAM_API glesam_status glesam_bundle_choose_backend(const glesam_bundle* bundle, const char* backend,
                                                      glesam_backend_choice* choice);

/* ---- the predictor --------------------------------------------------------------------------------------------- */

typedef struct glesam_predictor glesam_predictor;

/*
 * Compiles the bundle's graphs. The bundle may be freed afterwards.
 * backend: "auto", or one that the library was built with: "openvino", "onnxruntime", "tensorrt".
 * enhance: 0 is plain SAM, without GLE (generative latent space enhancement). RobustSAM does not run without.
 * resize: "", as the bundle says; "longest-side", SAM's own; "squash", SAM 2's; or "squash-512", as in the authors'
 * evaluation.
 */
GLESAM_API glesam_status glesam_predictor_open(const glesam_bundle* bundle, const char* backend, int enhance,
                                               const char* resize, glesam_predictor** predictor);

/*
 * The same with a number of threads of the CPU for each call, 1 to 1024; 0, as above: one on each core that this
 * process may use (taskset, cgroup). A GPU ignores it.
 */
GLESAM_API glesam_status glesam_predictor_open_threads(const glesam_bundle* bundle, const char* backend, int enhance,
                                                       const char* resize, int threads, glesam_predictor** predictor);

/*
 * Opens another predictor on the same compiled graphs, with a picture of its own. Any thread may call this, also while
 * `predictor` works in another. The graphs live until the last session is freed.
 */
GLESAM_API glesam_status glesam_predictor_new_session(const glesam_predictor* predictor, glesam_predictor** session);
GLESAM_API glesam_status glesam_predictor_describe(const glesam_predictor* predictor, glesam_model_info* info);
GLESAM_API void glesam_predictor_free(glesam_predictor* predictor);

typedef enum glesam_pixel_format {
    GLESAM_RGB = 0,
    GLESAM_BGR = 1,
    GLESAM_RGBA = 2, /* alpha is ignored */
    GLESAM_BGRA = 3,
    GLESAM_MONO8 = 4
} glesam_pixel_format;

/*
 * Where a caller's memory is. Device memory is for a backend that computes on a device, tensorrt, and must be
 * accessible to its GPU; any other backend refuses it.
 */
typedef enum glesam_memory { GLESAM_HOST = 0, GLESAM_DEVICE = 1 } glesam_memory;

/* A picture in the caller's memory, 8 bits per channel. It is read during the call and never kept. */
typedef struct glesam_image_view {
    const uint8_t* data;
    int32_t width;
    int32_t height;
    int64_t stride; /* bytes from one row to the next; 0: rows without gaps */
    int32_t format; /* a glesam_pixel_format */
    int32_t memory; /* a glesam_memory: where `data` points to */
    void* stream;   /* device memory: the cudaStream_t whose queued work writes the pixels; NULL: CUDA's legacy default
                       stream */
} glesam_image_view;

/*
 * Encodes and enhances a picture: slow, once per picture. A picture that is refused leaves the current one in place.
 * A picture in device memory is copied to the host, where it is resized; glesam_set_tensor avoids that copy.
 */
GLESAM_API glesam_status glesam_set_image(glesam_predictor* predictor, const glesam_image_view* image);

/* The aligned image of a second sensor in the caller's host memory, as large as the picture. Read during the call. */
typedef struct glesam_auxiliary_view {
    const void* data; /* uint8_t or uint16_t; 0 where nothing is known */
    int32_t width;
    int32_t height;
    int64_t stride; /* bytes from one row to the next; 0: rows without gaps */
    int32_t bits;   /* 8 or 16 */
} glesam_auxiliary_view;

/*
 * The same with an auxiliary image, for a bundle whose GLE has that input: GLESAM_IMAGE_ERROR from any other. Without
 * one, GLE computes what it would without the sensor.
 */
GLESAM_API glesam_status glesam_set_image_and_auxiliary(glesam_predictor* predictor, const glesam_image_view* image,
                                                        const glesam_auxiliary_view* auxiliary);

/* The place of the original picture in the S x S input: top left, resized_* large. Sizes in pixels. */
typedef struct glesam_geometry {
    int32_t original_height;
    int32_t original_width;
    int32_t resized_height;
    int32_t resized_width;
    int32_t image_size;
    int32_t direct_masks; /* masks go from S/4 straight to the original size, not through S as SAM does */
} glesam_geometry;

/* The geometry of a picture of this size, in pixels: for a program that makes the input itself. */
GLESAM_API glesam_status glesam_geometry_of(const glesam_predictor* predictor, int32_t height, int32_t width,
                                            glesam_geometry* geometry);

/* A preprocessed picture, as glesam_preprocess makes it, in the caller's memory. Read during the call, never kept. */
typedef struct glesam_tensor_view {
    const float* data;  /* [1, 3, S, S] */
    int32_t image_size; /* S, pixels */
    int32_t memory;     /* a glesam_memory: where `data` points to */
    void* stream;       /* as in glesam_image_view */
} glesam_tensor_view;

/*
 * Encodes and enhances a preprocessed picture: glesam_set_image without its resizing, and with the same guarantee.
 * An `input` in device memory is read in place; where its address is not a multiple of 256 bytes, it is copied once, on
 * the device. It must hold the picture resized to the geometry's resized_* (bilinear, with antialiasing), minus
 * pixel_mean, divided by pixel_std, at the top left, and zeros elsewhere.
 */
GLESAM_API glesam_status glesam_set_tensor(glesam_predictor* predictor, const glesam_tensor_view* input,
                                           const glesam_geometry* geometry);

/*
 * Pixels of the current picture; (0, 0) is the outer corner of the top left pixel. What lies up to one pixel outside
 * the picture is clipped to it, as detectors round to there; what lies further out is a GLESAM_PROMPT_ERROR.
 */
typedef struct glesam_point {
    double x;
    double y;
} glesam_point;

/* Clipped as points are. Four numbers from 0 to 1 are refused as normalised, unless the picture is one pixel. */
typedef struct glesam_box {
    double x0; /* left */
    double y0; /* top */
    double x1;
    double y1;
} glesam_box;

/* One object to segment: a box, points, an earlier prediction's logits, or any combination. All zero is no prompt. */
typedef struct glesam_prompt {
    const glesam_box* box; /* NULL: none */
    const glesam_point* points;
    size_t num_points;
    const glesam_point* background_points;
    size_t num_background_points;
    const float* mask_input; /* logits [S/4, S/4] of an earlier glesam_prediction; NULL: none */
    int32_t mask_input_height;
    int32_t mask_input_width;
} glesam_prompt;

/*
 * N prompts' masks, C candidates each: C is 3 with multimask (part, object, whole), else 1.
 * The memory is the predictor's, valid until its next call that predicts or sets a picture, or *_free.
 */
typedef struct glesam_prediction {
    const uint8_t* masks;         /* [N, C, height, width] of the picture: 1 inside, 0 outside */
    const float* iou_predictions; /* [N, C], the model's own estimate of each mask's quality */
    const float* low_res_masks;   /* [N, C, S/4, S/4], logits, fit as mask_input */
    int32_t num_prompts;
    int32_t num_candidates;
    int32_t height;
    int32_t width;
    int32_t low_res_size; /* S/4 */
} glesam_prediction;

/* Computes the masks of all prompts in one call of the decoder: fast. After warm-up it allocates nothing of its own. */
GLESAM_API glesam_status glesam_predict(glesam_predictor* predictor, const glesam_prompt* prompts, size_t num_prompts,
                                        int multimask, glesam_prediction* prediction);

/*
 * N prompts' logits and scores in device memory, C candidates each. Nothing is resized or checked for NaN.
 * Both are computed when the call returns. The memory is the predictor's, valid until its next call of any function
 * that computes, or *_free; work queued on `stream` is done before it is overwritten.
 * Candidate c of prompt n begins at low_res_masks + (n * prompt_stride + c) * S/4 * S/4, and its score is
 * iou_predictions[n * prompt_stride + c].
 */
typedef struct glesam_device_prediction {
    const float* low_res_masks;   /* [N, C, S/4, S/4], logits */
    const float* iou_predictions; /* [N, C] */
    int32_t num_prompts;          /* N */
    int32_t num_candidates;       /* C */
    int32_t prompt_stride;        /* candidates from one prompt to the next, at least C: the decoder computes more */
    int32_t low_res_size;         /* S/4 */
    void* stream;                 /* the cudaStream_t that they were computed on */
} glesam_device_prediction;

/*
 * As glesam_predict, but the results stay on the device: at most as many prompts as the engine was built for.
 * GLESAM_BACKEND_ERROR from a backend that computes on the host.
 */
GLESAM_API glesam_status glesam_predict_on_device(glesam_predictor* predictor, const glesam_prompt* prompts,
                                                  size_t num_prompts, int multimask,
                                                  glesam_device_prediction* prediction);

/*
 * The predicted degradation of the current picture: 0 clean, 1 to 3 as GleSAM's low-quality levels LQ-1 to LQ-3.
 * is_known: 0 where the bundle's GLE does not predict it, or the predictor was opened without GLE; `level` is then 0.
 */
GLESAM_API glesam_status glesam_get_degradation_level(const glesam_predictor* predictor, float* level, int* is_known);

/* Milliseconds of each stage the last time it ran; 0 where it did not. */
typedef struct glesam_timings {
    double preprocess_ms;
    double encode_ms;
    double enhance_ms;
    double decode_ms; /* prompts included */
    double postprocess_ms;
} glesam_timings;

GLESAM_API glesam_status glesam_get_timings(const glesam_predictor* predictor, glesam_timings* timings);

/* ---- the steps, one by one ------------------------------------------------------------------------------------- */

/* They read and write host memory, except for the pixels of a view, and leave the current picture alone. */

/* The decoder's inputs beside the embeddings, in the predictor's or the caller's memory. */
typedef struct glesam_prompt_feeds {
    const float* point_coords;   /* [N, P, 2], (x, y) in pixels of the input */
    const int32_t* point_labels; /* [N, P]: -1 padding, 0 background, 1 foreground, 2 and 3 box corners */
    const float* mask_input;     /* [N, 1, S/4, S/4] */
    const float* has_mask_input; /* [N] */
    int32_t num_prompts;
    int32_t num_points;
} glesam_prompt_feeds;

/* The decoder's outputs: output 0 is SAM's single mask, 1 to 3 its candidates. Valid until the next decode. */
typedef struct glesam_decoded {
    const float* low_res_masks;   /* [N, 4, S/4, S/4] */
    const float* iou_predictions; /* [N, 4] */
    int32_t num_prompts;
} glesam_decoded;

/* Picture -> input [3, S, S], resized, normalised, padded with zeros. */
GLESAM_API glesam_status glesam_preprocess(glesam_predictor* predictor, const glesam_image_view* image, float* input,
                                           glesam_geometry* geometry);

/*
 * Number of floats that the encoder gives and that the decoder reads. SAM's are one embedding [256, S/16, S/16]; SAM 2
 * has high_res_s0 [32, S/4, S/4] and high_res_s1 [64, S/8, S/8] behind it (docs/bundle.md).
 */
GLESAM_API glesam_status glesam_feature_sizes(const glesam_predictor* predictor, size_t* encoded_size,
                                              size_t* features_size);

/* Input [3, S, S] -> what the encoder gives. */
GLESAM_API glesam_status glesam_encode_features(glesam_predictor* predictor, const float* input, float* encoded,
                                                size_t encoded_size);

/* What the encoder gives -> what the decoder reads. An error where the predictor was opened without GLE. */
GLESAM_API glesam_status glesam_enhance_features(glesam_predictor* predictor, const float* encoded, size_t encoded_size,
                                                 float* features, size_t features_size);

/* The next three are these steps for a model with one embedding [256, S/16, S/16]; another model refuses them. */

/* Input [3, S, S] -> image_embeddings [256, S/16, S/16]. */
GLESAM_API glesam_status glesam_encode(glesam_predictor* predictor, const float* input, float* image_embeddings);

/* image_embeddings -> enhanced ones, both [256, S/16, S/16]. An error where the predictor was opened without GLE. */
GLESAM_API glesam_status glesam_enhance(glesam_predictor* predictor, const float* image_embeddings, float* enhanced);

/* Checks and encodes prompts. `feeds` is valid until the predictor's next glesam_encode_prompts or glesam_predict. */
GLESAM_API glesam_status glesam_encode_prompts(glesam_predictor* predictor, const glesam_geometry* geometry,
                                               const glesam_prompt* prompts, size_t num_prompts,
                                               glesam_prompt_feeds* feeds);

/* Embeddings and prompts -> logits. `decoded` is valid until the predictor's next glesam_decode or glesam_predict. */
GLESAM_API glesam_status glesam_decode(glesam_predictor* predictor, const float* image_embeddings,
                                       const glesam_prompt_feeds* feeds, glesam_decoded* decoded);

/* The same for any model: what the decoder reads, and prompts -> logits. */
GLESAM_API glesam_status glesam_decode_features(glesam_predictor* predictor, const float* features,
                                                size_t features_size, const glesam_prompt_feeds* feeds,
                                                glesam_decoded* decoded);

/* Logits [count, S/4, S/4] -> masks [count, original_height, original_width], 1 where logits > mask_threshold. */
GLESAM_API glesam_status glesam_postprocess(glesam_predictor* predictor, const glesam_geometry* geometry,
                                            const float* low_res_masks, size_t count, uint8_t* masks);

#ifdef __cplusplus
}
#endif

#endif
