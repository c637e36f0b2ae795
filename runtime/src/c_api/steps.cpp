// The C API: preprocessed pictures, and the steps one by one.
#include <algorithm>
#include <string>

#include "c_api/c_api.hpp"

using glesam::c_api::check_prompts;
using glesam::c_api::guarded;
using glesam::c_api::require;
using glesam::core::Predictor;

namespace {

void check_feeds(const glesam_prompt_feeds* feeds) {
    require(feeds, "feeds");
    require(feeds->point_coords, "point_coords");
    require(feeds->point_labels, "point_labels");
    require(feeds->mask_input, "mask_input");
    require(feeds->has_mask_input, "has_mask_input");
    if (feeds->num_prompts < 1 || feeds->num_points < 1) {
        throw glesam::core::argument_error("feeds: expected at least one prompt of one point, found " +
                                           std::to_string(feeds->num_prompts) + " of " +
                                           std::to_string(feeds->num_points) + "; see docs/bundle.md");
    }
}

/// Throws an ArgumentError for a geometry that is not the model's.
void check_geometry(const Predictor& predictor, const glesam_geometry& geometry) {
    glesam::core::check_geometry(geometry, static_cast<int>(predictor.model().manifest.image_size));
}

}  // namespace

glesam_status glesam_geometry_of(const glesam_predictor* predictor, int32_t height, int32_t width,
                                 glesam_geometry* geometry) {
    return guarded([&] {
        require(predictor, "predictor");
        require(geometry, "geometry");
        *geometry = predictor->predictor->geometry_of(height, width);
    });
}

glesam_status glesam_set_tensor(glesam_predictor* predictor, const glesam_tensor_view* input,
                                const glesam_geometry* geometry) {
    return guarded([&] {
        require(predictor, "predictor");
        require(input, "input");
        require(input->data, "data");
        require(geometry, "geometry");
        check_geometry(*predictor->predictor, *geometry);
        predictor->predictor->set_tensor(*input, *geometry);
    });
}

glesam_status glesam_preprocess(glesam_predictor* predictor, const glesam_image_view* image, float* input,
                                glesam_geometry* geometry) {
    return guarded([&] {
        require(predictor, "predictor");
        require(image, "image");
        require(input, "input");
        require(geometry, "geometry");
        *geometry = predictor->predictor->preprocess(*image, input);
    });
}

glesam_status glesam_encode(glesam_predictor* predictor, const float* input, float* image_embeddings) {
    return guarded([&] {
        require(predictor, "predictor");
        require(input, "input");
        require(image_embeddings, "image_embeddings");
        const float* answer = predictor->predictor->encode(input);
        std::copy_n(answer, predictor->predictor->embeddings_size(), image_embeddings);
    });
}

glesam_status glesam_enhance(glesam_predictor* predictor, const float* image_embeddings, float* enhanced) {
    return guarded([&] {
        require(predictor, "predictor");
        require(image_embeddings, "image_embeddings");
        require(enhanced, "enhanced");
        const float* answer = predictor->predictor->enhance(image_embeddings);
        std::copy_n(answer, predictor->predictor->embeddings_size(), enhanced);
    });
}

glesam_status glesam_encode_prompts(glesam_predictor* predictor, const glesam_geometry* geometry,
                                    const glesam_prompt* prompts, size_t num_prompts, glesam_prompt_feeds* feeds) {
    return guarded([&] {
        require(predictor, "predictor");
        require(geometry, "geometry");
        require(feeds, "feeds");
        check_prompts(prompts, num_prompts);
        check_geometry(*predictor->predictor, *geometry);
        *feeds = predictor->predictor->encode_prompts(*geometry, prompts, num_prompts);
    });
}

glesam_status glesam_decode(glesam_predictor* predictor, const float* image_embeddings,
                            const glesam_prompt_feeds* feeds, glesam_decoded* decoded) {
    return guarded([&] {
        require(predictor, "predictor");
        require(image_embeddings, "image_embeddings");
        require(decoded, "decoded");
        check_feeds(feeds);
        *decoded = predictor->predictor->decode(image_embeddings, *feeds);
    });
}

glesam_status glesam_postprocess(glesam_predictor* predictor, const glesam_geometry* geometry,
                                 const float* low_res_masks, size_t count, uint8_t* masks) {
    return guarded([&] {
        require(predictor, "predictor");
        require(geometry, "geometry");
        require(low_res_masks, "low_res_masks");
        require(masks, "masks");
        check_geometry(*predictor->predictor, *geometry);
        predictor->predictor->postprocess(*geometry, low_res_masks, count, masks);
    });
}
