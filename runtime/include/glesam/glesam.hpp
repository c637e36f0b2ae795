/// GleSAM in C++17: a bundle, a picture and prompts in, masks out.
///
/// OVERVIEW
///
/// SAM segments what a box or a point marks. On bad pictures (noise, blur, compression) GLE (generative
/// latent space enhancement) first repairs its image embedding. `glesam-export` writes both, with hashes, into a
/// folder: the bundle. This library opens it, compiles its graphs with a backend, and computes the masks that the
/// Python package computes. docs/cpp.md is the guide.
///
///     Bundle      verified files. Refused with one clear line where a byte is not what the exporter wrote
///     Predictor   compiled graphs and one picture. set_image is slow (encoder and GLE), predict fast (decoder)
///     Prediction  masks, scores and logits, in the predictor's memory
///
/// BASIC USE
///
///     #include <glesam/glesam.hpp>
///
///     auto predictor = glesam::Predictor::from_bundle("glesam-nano-fp16");
///     predictor.set_image({pixels, width, height});                       // 8-bit RGB, rows without gaps
///     auto prediction = predictor.predict(glesam::Prompt::from_box({20, 5, 470, 510}));
///     const std::uint8_t* mask = prediction.mask();                       // [height, width], 1 inside, 0 outside
///
/// Coordinates are pixels of that picture, clipped to it where they lie up to one pixel outside. Errors are exceptions
/// of type glesam::Error; what() is one line that says what was expected, what was found and what to do, status() says
/// which kind.
///
/// ADVANCED USE
///
/// Other pictures: a view names its stride and format, and nothing is copied or kept:
///
///     predictor.set_image({frame.data, frame.cols, frame.rows, std::int64_t(frame.step), GLESAM_BGR});
///
/// Several objects in one call of the decoder, three candidates each, refined by an earlier prediction:
///
///     glesam::Prompt cup = glesam::Prompt::from_points({{250, 350}, {260, 300}});
///     cup.background_points = {{40, 40}};
///     cup.mask_input = prediction.logits();
///     auto both = predictor.predict({cup, glesam::Prompt::from_box({0, 0, 90, 90})}, /*multimask=*/true);
///
/// Several threads: each has its own session on the same compiled graphs.
///
///     std::thread worker([session = predictor.new_session()]() mutable { session.set_image(...); });
///
/// Device memory, with the backend tensorrt: pixels are read after the work queued on `stream` (a cudaStream_t), a
/// preprocessed input is read in place, and logits can stay there. docs/cpp.md says what is copied when.
///
///     predictor.set_image({pixels, width, height, pitch, GLESAM_RGBA, GLESAM_DEVICE, stream});
///     const auto geometry = predictor.geometry_of(height, width);
///     predictor.set_tensor({input, 512, GLESAM_DEVICE, stream}, geometry);  // float32 [1, 3, 512, 512]
///     auto on_device = predictor.predict_on_device({cup});
///     use<<<blocks, threads, 0, cudaStream_t(on_device.stream)>>>(on_device.logits());  // [S/4, S/4]
///
/// A bundle of a known maker: glesam-sign signs it, and whoever has the public key takes it from nobody else.
///
///     auto bundle = glesam::Bundle::open("glesam-nano-fp16", "maker.pub.pem");
///     auto predictor = glesam::Predictor::from_bundle(bundle);
///
/// Memory: a Prediction points into its predictor until that predicts or sets a picture again; copy what must stay.
/// predict allocates nothing once it has seen its largest request.
///
/// The steps one by one, for pipelines of your own and for checking: preprocess, encode, enhance, encode_prompts,
/// decode, postprocess. They compute what set_image and predict compute, and leave the current picture alone.
///
/// This header is inline code over the C functions of glesam.h. No C++ type, exception or object layout crosses into
/// the shared library: your compiler, standard library and settings need not be those it was built with.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "glesam.h"

namespace glesam {

using Point = glesam_point;                   ///< x, y
using Box = glesam_box;                       ///< x0, y0, x1, y1: left, top, right, bottom
using Geometry = glesam_geometry;             ///< the place of a picture in the model's input
using Timings = glesam_timings;               ///< milliseconds of each stage the last time it ran
using PromptFeeds = glesam_prompt_feeds;      ///< the decoder's inputs beside the embeddings
using Decoded = glesam_decoded;               ///< the decoder's outputs
using BackendChoice = glesam_backend_choice;  ///< a backend's name, and why it was chosen
using ModelInfo = glesam_model_info;          ///< bundle.json's; strings live as long as their owner

/// Every error of this library; see glesam_status for the kinds.
class Error : public std::runtime_error {
   public:
    Error(glesam_status status, const char* message) : std::runtime_error(message), status_(status) {}

    glesam_status status() const noexcept { return status_; }

   private:
    glesam_status status_;
};

/// Throws the error of a C function that failed.
inline void check(glesam_status status) {
    if (status != GLESAM_OK) throw Error(status, glesam_last_error());
}

/// A picture in your memory: 8 bits per channel, read during the call and never kept.
struct ImageView {
    const std::uint8_t* data = nullptr;
    int width = 0;
    int height = 0;
    std::int64_t stride = 0;  ///< bytes from one row to the next; 0: rows without gaps
    glesam_pixel_format format = GLESAM_RGB;
    glesam_memory memory = GLESAM_HOST;
    void* stream = nullptr;  ///< device memory: the cudaStream_t whose queued work writes the pixels
};

/// A preprocessed picture in your memory, float32 [1, 3, S, S]: read during the call and never kept.
struct TensorView {
    const float* data = nullptr;
    int image_size = 0;  ///< S, pixels
    glesam_memory memory = GLESAM_HOST;
    void* stream = nullptr;  ///< as in ImageView
};

/// The aligned image of a second sensor in your memory, of 8 or 16 bits a pixel; 0 where nothing is known.
struct AuxiliaryView {
    const void* data = nullptr;
    int width = 0;
    int height = 0;
    std::int64_t stride = 0;  ///< bytes from one row to the next; 0: rows without gaps
    int bits = 8;
};

/// Logits [height, width] in memory that the view does not own.
struct LogitsView {
    const float* data = nullptr;
    int height = 0;
    int width = 0;
};

/// One object to segment: a box, points on it and beside it, an earlier prediction's logits, or any combination.
struct Prompt {
    std::optional<Box> box;
    std::vector<Point> points;
    std::vector<Point> background_points;
    LogitsView mask_input;

    static Prompt from_box(Box box) {
        Prompt prompt;
        prompt.box = box;
        return prompt;
    }

    static Prompt from_points(std::vector<Point> points) {
        Prompt prompt;
        prompt.points = std::move(points);
        return prompt;
    }
};

/// N prompts' masks, C candidates each (3 with multimask, else 1), in the predictor's memory.
struct Prediction : glesam_prediction {
    /// [height, width], 1 inside, 0 outside.
    const std::uint8_t* mask(int prompt = 0, int candidate = 0) const {
        return masks + index(prompt, candidate) * static_cast<std::size_t>(height) * static_cast<std::size_t>(width);
    }

    /// The model's own estimate of a mask's quality.
    float score(int prompt = 0, int candidate = 0) const { return iou_predictions[index(prompt, candidate)]; }

    /// [S/4, S/4], fit as mask_input of the next prompt.
    LogitsView logits(int prompt = 0, int candidate = 0) const {
        const auto side = static_cast<std::size_t>(low_res_size);
        return {low_res_masks + index(prompt, candidate) * side * side, low_res_size, low_res_size};
    }

   private:
    std::size_t index(int prompt, int candidate) const {
        return static_cast<std::size_t>(prompt) * static_cast<std::size_t>(num_candidates) +
               static_cast<std::size_t>(candidate);
    }
};

/// N prompts' logits and scores in device memory, C candidates each; see glesam_device_prediction for their lifetime.
struct DevicePrediction : glesam_device_prediction {
    /// [S/4, S/4] on the device.
    const float* logits(int prompt = 0, int candidate = 0) const {
        const auto side = static_cast<std::size_t>(low_res_size);
        return low_res_masks + index(prompt, candidate) * side * side;
    }

    /// The model's own estimate of a mask's quality, on the device.
    const float* score(int prompt = 0, int candidate = 0) const { return iou_predictions + index(prompt, candidate); }

   private:
    std::size_t index(int prompt, int candidate) const {
        return static_cast<std::size_t>(prompt) * static_cast<std::size_t>(prompt_stride) +
               static_cast<std::size_t>(candidate);
    }
};

/// Verified files. Many threads may use one.
class Bundle {
   public:
    /// Reads and verifies the bundle in folder `path`. Throws Error with GLESAM_BUNDLE_ERROR.
    static Bundle open(const std::string& path) {
        glesam_bundle* bundle = nullptr;
        check(glesam_bundle_open(path.c_str(), &bundle));
        return Bundle(bundle);
    }

    /// The same for a bundle that glesam-sign signed; `public_key`: a PEM file with its maker's Ed25519 key.
    static Bundle open(const std::string& path, const std::string& public_key) {
        glesam_bundle* bundle = nullptr;
        check(glesam_bundle_open_signed(path.c_str(), public_key.c_str(), &bundle));
        return Bundle(bundle);
    }

    ModelInfo info() const {
        ModelInfo info{};
        check(glesam_bundle_describe(handle_.get(), &info));
        return info;
    }

    /// The backend that "auto", or a name, stands for with this bundle, and why. Throws where there is none.
    BackendChoice choose_backend(const std::string& backend = "auto") const {
        BackendChoice choice{};
        check(glesam_bundle_choose_backend(handle_.get(), backend.c_str(), &choice));
        return choice;
    }

    const glesam_bundle* handle() const noexcept { return handle_.get(); }

   private:
    struct Free {
        void operator()(glesam_bundle* bundle) const { glesam_bundle_free(bundle); }
    };
    explicit Bundle(glesam_bundle* bundle) : handle_(bundle) {}

    std::unique_ptr<glesam_bundle, Free> handle_;
};

/// How a predictor runs a bundle.
struct Options {
    std::string backend = "auto";  ///< or one that the library was built with: "openvino", "onnxruntime", "tensorrt"
    bool enhance = true;           ///< false: plain SAM, without GLE
    std::string resize = {};       ///< "": as the bundle says; "longest-side"; "squash"; or "squash-512"
    int threads = 0;  ///< of the CPU for each call; 0: one on each core that this process may use (taskset, cgroup)
};

/// Segments one picture at a time. For several threads, give each its new_session().
class Predictor {
   public:
    static Predictor from_bundle(const Bundle& bundle, const Options& options = {}) {
        glesam_predictor* predictor = nullptr;
        check(glesam_predictor_open_threads(bundle.handle(), options.backend.c_str(), options.enhance ? 1 : 0,
                                            options.resize.c_str(), options.threads, &predictor));
        return Predictor(predictor);
    }

    static Predictor from_bundle(const std::string& path, const Options& options = {}) {
        return from_bundle(Bundle::open(path), options);
    }

    /// Another predictor on the same compiled graphs, with a picture of its own. Any thread may call this.
    Predictor new_session() const {
        glesam_predictor* session = nullptr;
        check(glesam_predictor_new_session(handle_.get(), &session));
        return Predictor(session);
    }

    ModelInfo info() const {
        ModelInfo info{};
        check(glesam_predictor_describe(handle_.get(), &info));
        return info;
    }

    Timings timings() const {
        Timings timings{};
        check(glesam_get_timings(handle_.get(), &timings));
        return timings;
    }

    /// The current picture's predicted degradation: 0 clean, 1 to 3 as LQ-1 to LQ-3. None where the bundle's GLE does
    /// not predict it, or GLE is off.
    std::optional<float> degradation_level() const {
        float level = 0;
        int is_known = 0;
        check(glesam_get_degradation_level(handle_.get(), &level, &is_known));
        return is_known != 0 ? std::optional<float>(level) : std::nullopt;
    }

    /// Encodes and enhances a picture. One that is refused leaves the current one in place.
    void set_image(const ImageView& image) {
        const glesam_image_view view = c_view(image);
        check(glesam_set_image(handle_.get(), &view));
    }

    /// The same with a second sensor's image, for a bundle whose GLE has that input.
    void set_image(const ImageView& image, const AuxiliaryView& auxiliary) {
        const glesam_image_view view = c_view(image);
        const glesam_auxiliary_view second{auxiliary.data, auxiliary.width, auxiliary.height, auxiliary.stride,
                                           auxiliary.bits};
        check(glesam_set_image_and_auxiliary(handle_.get(), &view, &second));
    }

    /// The place that a picture of height x width pixels must have in set_tensor's input.
    Geometry geometry_of(int height, int width) const {
        Geometry geometry{};
        check(glesam_geometry_of(handle_.get(), height, width, &geometry));
        return geometry;
    }

    /// Encodes and enhances a preprocessed picture, in device memory without a copy; glesam.h says what it must hold.
    void set_tensor(const TensorView& input, const Geometry& geometry) {
        const glesam_tensor_view view{input.data, input.image_size, input.memory, input.stream};
        check(glesam_set_tensor(handle_.get(), &view, &geometry));
    }

    /// The mask of one prompt. multimask: three candidates (part, object, whole) instead of the best one.
    Prediction predict(const Prompt& prompt, bool multimask = false) { return predict(&prompt, 1, multimask); }

    /// The masks of all prompts in one call of the decoder.
    Prediction predict(const std::vector<Prompt>& prompts, bool multimask = false) {
        return predict(prompts.data(), prompts.size(), multimask);
    }

    Prediction predict(const Prompt* prompts, std::size_t count, bool multimask) {
        const std::vector<glesam_prompt>& raw = c_prompts(prompts, count);
        Prediction prediction{};
        check(glesam_predict(handle_.get(), raw.data(), raw.size(), multimask ? 1 : 0, &prediction));
        return prediction;
    }

    /// The logits and scores of all prompts, left in device memory. Throws where the backend computes on the host.
    DevicePrediction predict_on_device(const std::vector<Prompt>& prompts, bool multimask = false) {
        const std::vector<glesam_prompt>& raw = c_prompts(prompts.data(), prompts.size());
        DevicePrediction prediction{};
        check(glesam_predict_on_device(handle_.get(), raw.data(), raw.size(), multimask ? 1 : 0, &prediction));
        return prediction;
    }

    // ---- the steps, one by one; shapes and lifetimes are those of glesam.h ----

    struct Preprocessed {
        std::vector<float> input;  ///< [3, S, S]
        Geometry geometry;
    };

    Preprocessed preprocess(const ImageView& image) {
        const auto side = static_cast<std::size_t>(info().image_size);
        Preprocessed result{std::vector<float>(3 * side * side), {}};
        const glesam_image_view view = c_view(image);
        check(glesam_preprocess(handle_.get(), &view, result.input.data(), &result.geometry));
        return result;
    }

    std::vector<float> encode(const std::vector<float>& input) {
        const auto side = static_cast<std::size_t>(info().image_size);
        expect_size("input", input, 3 * side * side);
        std::vector<float> encoded(feature_sizes().first);
        check(glesam_encode_features(handle_.get(), input.data(), encoded.data(), encoded.size()));
        return encoded;
    }

    std::vector<float> enhance(const std::vector<float>& encoded) {
        std::vector<float> features(feature_sizes().second);
        check(glesam_enhance_features(handle_.get(), encoded.data(), encoded.size(), features.data(), features.size()));
        return features;
    }

    PromptFeeds encode_prompts(const Geometry& geometry, const std::vector<Prompt>& prompts) {
        const std::vector<glesam_prompt>& raw = c_prompts(prompts.data(), prompts.size());
        PromptFeeds feeds{};
        check(glesam_encode_prompts(handle_.get(), &geometry, raw.data(), raw.size(), &feeds));
        return feeds;
    }

    Decoded decode(const std::vector<float>& features, const PromptFeeds& feeds) {
        Decoded decoded{};
        check(glesam_decode_features(handle_.get(), features.data(), features.size(), &feeds, &decoded));
        return decoded;
    }

    std::vector<std::uint8_t> postprocess(const Geometry& geometry, const float* low_res_masks, std::size_t count) {
        std::uint8_t unused = 0;
        check(glesam_postprocess(handle_.get(), &geometry, low_res_masks, 0, &unused));  // checks the geometry
        const std::size_t pixels =
            static_cast<std::size_t>(geometry.original_height) * static_cast<std::size_t>(geometry.original_width);
        std::vector<std::uint8_t> masks;
        if (count > masks.max_size() / pixels) throw std::length_error("count: more masks than fit into memory");
        masks.resize(count * pixels);
        check(glesam_postprocess(handle_.get(), &geometry, low_res_masks, count, masks.data()));
        return masks;
    }

   private:
    struct Free {
        void operator()(glesam_predictor* predictor) const { glesam_predictor_free(predictor); }
    };
    explicit Predictor(glesam_predictor* predictor) : handle_(predictor) {}

    static glesam_image_view c_view(const ImageView& image) {
        return {image.data, image.width, image.height, image.stride, image.format, image.memory, image.stream};
    }

    static glesam_prompt c_prompt(const Prompt& prompt) {
        return {prompt.box ? &*prompt.box : nullptr,
                prompt.points.data(),
                prompt.points.size(),
                prompt.background_points.data(),
                prompt.background_points.size(),
                prompt.mask_input.data,
                prompt.mask_input.height,
                prompt.mask_input.width};
    }

    const std::vector<glesam_prompt>& c_prompts(const Prompt* prompts, std::size_t count) {
        c_prompts_.clear();
        for (std::size_t i = 0; i < count; ++i) c_prompts_.push_back(c_prompt(prompts[i]));
        return c_prompts_;
    }

    static void expect_size(const char* name, const std::vector<float>& values, std::size_t expected) {
        if (values.size() == expected) return;
        const std::string message = std::string(name) + ": expected " + std::to_string(expected) + " floats, found " +
                                    std::to_string(values.size()) + "; give what the step before answered";
        throw Error(GLESAM_ARGUMENT_ERROR, message.c_str());
    }

    /// Floats that the encoder gives, and that the decoder reads.
    std::pair<std::size_t, std::size_t> feature_sizes() const {
        std::pair<std::size_t, std::size_t> sizes{};
        check(glesam_feature_sizes(handle_.get(), &sizes.first, &sizes.second));
        return sizes;
    }

    std::unique_ptr<glesam_predictor, Free> handle_;
    std::vector<glesam_prompt> c_prompts_;  // kept, so that predict allocates nothing
};

}  // namespace glesam
