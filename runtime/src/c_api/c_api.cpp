// The C API: bundles, predictors, pictures and prompts. The single steps are in steps.cpp.
#include "c_api/c_api.hpp"

#include <algorithm>
#include <array>
#include <cstring>
#include <memory>
#include <string>
#include <utility>

#include "bundle/bundle.hpp"

using glesam::c_api::check_prompts;
using glesam::c_api::guarded;
using glesam::c_api::require;
using glesam::core::Bundle;
using glesam::core::Manifest;
using glesam::core::Model;
using glesam::core::Predictor;

struct glesam_bundle {
    Bundle bundle;
};

namespace {

// Not a string: storing a message must not fail when memory has run out.
thread_local std::array<char, 4096> last_error{};

glesam_model_info describe(const Manifest& manifest, const std::string& hash) {
    glesam_model_info info{};
    info.name = manifest.name.c_str();
    info.sam_type = manifest.sam_type.c_str();
    info.precision = manifest.precision.c_str();
    info.hash = hash.c_str();
    info.multimask = manifest.multimask ? 1 : 0;
    info.image_size = static_cast<std::int32_t>(manifest.image_size);
    std::copy(manifest.pixel_mean.begin(), manifest.pixel_mean.end(), info.pixel_mean);
    std::copy(manifest.pixel_std.begin(), manifest.pixel_std.end(), info.pixel_std);
    info.mask_threshold = manifest.mask_threshold;
    info.gamma = manifest.gamma;
    info.timestep = manifest.timestep;
    return info;
}

glesam_predictor* wrapped(std::unique_ptr<Predictor> predictor) { return new glesam_predictor{std::move(predictor)}; }

}  // namespace

namespace glesam::c_api {

glesam_status remember(glesam_status status, const char* message) noexcept {
    std::size_t size = std::min(std::strlen(message), last_error.size() - 1);
    while (size > 0 && (message[size] & 0xc0) == 0x80) --size;  // never cut inside a UTF-8 character
    std::memcpy(last_error.data(), message, size);
    last_error[size] = '\0';
    return status;
}

void require(const void* pointer, const char* name) {
    if (pointer == nullptr) {
        throw core::argument_error(std::string(name) + ": expected a pointer, found NULL; give one");
    }
}

void check_prompts(const glesam_prompt* prompts, std::size_t count) {
    if (count > 0) require(prompts, "prompts");
    for (std::size_t i = 0; i < count; ++i) {
        if (prompts[i].num_points > 0) require(prompts[i].points, "points");
        if (prompts[i].num_background_points > 0) require(prompts[i].background_points, "background_points");
    }
}

}  // namespace glesam::c_api

const char* glesam_last_error(void) { return last_error.data(); }

const char* glesam_version(void) { return GLESAM_VERSION; }

glesam_status glesam_bundle_open(const char* path, glesam_bundle** bundle) {
    return guarded([&] {
        require(path, "path");
        require(bundle, "bundle");
        *bundle = new glesam_bundle{glesam::core::open_bundle(path)};
    });
}

glesam_status glesam_bundle_open_signed(const char* path, const char* public_key, glesam_bundle** bundle) {
    return guarded([&] {
        require(path, "path");
        require(public_key, "public_key");
        require(bundle, "bundle");
        if (*public_key == '\0') throw glesam::core::argument_error("public_key: expected a file, found \"\"");
        *bundle = new glesam_bundle{glesam::core::open_bundle(path, public_key)};
    });
}

glesam_status glesam_bundle_describe(const glesam_bundle* bundle, glesam_model_info* info) {
    return guarded([&] {
        require(bundle, "bundle");
        require(info, "info");
        *info = describe(bundle->bundle.manifest, bundle->bundle.hash);
    });
}

glesam_status glesam_bundle_choose_backend(const glesam_bundle* bundle, const char* backend,
                                           glesam_backend_choice* choice) {
    return guarded([&] {
        require(bundle, "bundle");
        require(backend, "backend");
        require(choice, "choice");
        const auto chosen = glesam::core::choose_backend(backend, bundle->bundle);
        *choice = {};
        chosen.backend.copy(choice->backend, sizeof choice->backend - 1);
        chosen.reason.copy(choice->reason, sizeof choice->reason - 1);
    });
}

void glesam_bundle_free(glesam_bundle* bundle) { delete bundle; }

glesam_status glesam_predictor_open(const glesam_bundle* bundle, const char* backend, int enhance, const char* resize,
                                    glesam_predictor** predictor) {
    return glesam_predictor_open_threads(bundle, backend, enhance, resize, 0, predictor);
}

glesam_status glesam_predictor_open_threads(const glesam_bundle* bundle, const char* backend, int enhance,
                                            const char* resize, int threads, glesam_predictor** predictor) {
    return guarded([&] {
        require(bundle, "bundle");
        require(backend, "backend");
        require(resize, "resize");
        require(predictor, "predictor");
        const Bundle& opened = bundle->bundle;
        const auto strategy = glesam::core::resize_from_name(*resize == '\0' ? opened.manifest.resize : resize);
        auto engines = glesam::core::open_engines(backend, opened, enhance != 0, threads);
        auto model = std::make_shared<const Model>(Model{opened.manifest, opened.hash, std::move(engines), strategy});
        *predictor = wrapped(std::make_unique<Predictor>(std::move(model)));
    });
}

glesam_status glesam_predictor_new_session(const glesam_predictor* predictor, glesam_predictor** session) {
    return guarded([&] {
        require(predictor, "predictor");
        require(session, "session");
        *session = wrapped(predictor->predictor->new_session());
    });
}

glesam_status glesam_predictor_describe(const glesam_predictor* predictor, glesam_model_info* info) {
    return guarded([&] {
        require(predictor, "predictor");
        require(info, "info");
        *info = describe(predictor->predictor->model().manifest, predictor->predictor->model().hash);
    });
}

void glesam_predictor_free(glesam_predictor* predictor) { delete predictor; }

glesam_status glesam_set_image(glesam_predictor* predictor, const glesam_image_view* image) {
    return guarded([&] {
        require(predictor, "predictor");
        require(image, "image");
        predictor->predictor->set_image(*image);
    });
}

glesam_status glesam_set_image_and_auxiliary(glesam_predictor* predictor, const glesam_image_view* image,
                                             const glesam_auxiliary_view* auxiliary) {
    return guarded([&] {
        require(predictor, "predictor");
        require(image, "image");
        require(auxiliary, "auxiliary");
        predictor->predictor->set_image(*image, auxiliary);
    });
}

glesam_status glesam_predict(glesam_predictor* predictor, const glesam_prompt* prompts, size_t num_prompts,
                             int multimask, glesam_prediction* prediction) {
    return guarded([&] {
        require(predictor, "predictor");
        require(prediction, "prediction");
        check_prompts(prompts, num_prompts);
        *prediction = predictor->predictor->predict(prompts, num_prompts, multimask != 0);
    });
}

glesam_status glesam_predict_on_device(glesam_predictor* predictor, const glesam_prompt* prompts, size_t num_prompts,
                                       int multimask, glesam_device_prediction* prediction) {
    return guarded([&] {
        require(predictor, "predictor");
        require(prediction, "prediction");
        check_prompts(prompts, num_prompts);
        *prediction = predictor->predictor->predict_on_device(prompts, num_prompts, multimask != 0);
    });
}

glesam_status glesam_get_degradation_level(const glesam_predictor* predictor, float* level, int* is_known) {
    return guarded([&] {
        require(predictor, "predictor");
        require(level, "level");
        require(is_known, "is_known");
        const auto predicted = predictor->predictor->degradation_level();
        *level = predicted.value_or(0.0F);
        *is_known = predicted ? 1 : 0;
    });
}

glesam_status glesam_get_timings(const glesam_predictor* predictor, glesam_timings* timings) {
    return guarded([&] {
        require(predictor, "predictor");
        require(timings, "timings");
        *timings = predictor->predictor->timings();
    });
}
