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

/// Features in the caller's memory, their name in messages, and what to do where there are too many or too few.
template <typename Float>
struct Array {
    const char* name;
    Float* data;
    std::size_t size;
    const char* cure = "give as many as glesam_feature_sizes says";
};

/// Throws an ArgumentError for NULL, and for another number of floats than the model's.
template <typename Float>
void check_array(const Array<Float>& array, std::size_t expected) {
    require(array.data, array.name);
    if (array.size == expected) return;
    throw glesam::core::argument_error(std::string(array.name) + ": expected " + std::to_string(expected) +
                                       " floats, found " + std::to_string(array.size) + "; " + array.cure);
}

/// Features [256, S/16, S/16], of a function that is not told their size: `cure` names the one that is.
template <typename Float>
Array<Float> one_embedding(const glesam_predictor& predictor, const char* name, Float* data, const char* cure) {
    const auto side = static_cast<std::size_t>(predictor.predictor->model().manifest.image_size / 16);
    return {name, data, 256 * side * side, cure};
}

void encode(Predictor& predictor, const float* input, const Array<float>& encoded) {
    check_array(encoded, predictor.encoded_size());
    predictor.encode(input, encoded.data);
}

void enhance(Predictor& predictor, const Array<const float>& encoded, const Array<float>& features) {
    check_array(encoded, predictor.encoded_size());
    check_array(features, predictor.features_size());
    predictor.enhance(encoded.data, features.data);
}

glesam_decoded decode(Predictor& predictor, const Array<const float>& features, const glesam_prompt_feeds* feeds) {
    check_array(features, predictor.features_size());
    check_feeds(feeds);
    return predictor.decode(features.data, *feeds);
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

glesam_status glesam_feature_sizes(const glesam_predictor* predictor, size_t* encoded_size, size_t* features_size) {
    return guarded([&] {
        require(predictor, "predictor");
        require(encoded_size, "encoded_size");
        require(features_size, "features_size");
        *encoded_size = predictor->predictor->encoded_size();
        *features_size = predictor->predictor->features_size();
    });
}

glesam_status glesam_encode(glesam_predictor* predictor, const float* input, float* image_embeddings) {
    return guarded([&] {
        require(predictor, "predictor");
        require(input, "input");
        const char* cure = "this model needs glesam_encode_features";
        encode(*predictor->predictor, input, one_embedding(*predictor, "image_embeddings", image_embeddings, cure));
    });
}

glesam_status glesam_encode_features(glesam_predictor* predictor, const float* input, float* encoded,
                                     size_t encoded_size) {
    return guarded([&] {
        require(predictor, "predictor");
        require(input, "input");
        encode(*predictor->predictor, input, {"encoded", encoded, encoded_size});
    });
}

glesam_status glesam_enhance(glesam_predictor* predictor, const float* image_embeddings, float* enhanced) {
    return guarded([&] {
        require(predictor, "predictor");
        const char* cure = "this model needs glesam_enhance_features";
        enhance(*predictor->predictor, one_embedding(*predictor, "image_embeddings", image_embeddings, cure),
                one_embedding(*predictor, "enhanced", enhanced, cure));
    });
}

glesam_status glesam_enhance_features(glesam_predictor* predictor, const float* encoded, size_t encoded_size,
                                      float* features, size_t features_size) {
    return guarded([&] {
        require(predictor, "predictor");
        enhance(*predictor->predictor, {"encoded", encoded, encoded_size}, {"features", features, features_size});
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
        require(decoded, "decoded");
        const char* cure = "this model needs glesam_decode_features";
        const auto features = one_embedding(*predictor, "image_embeddings", image_embeddings, cure);
        *decoded = decode(*predictor->predictor, features, feeds);
    });
}

glesam_status glesam_decode_features(glesam_predictor* predictor, const float* features, size_t features_size,
                                     const glesam_prompt_feeds* feeds, glesam_decoded* decoded) {
    return guarded([&] {
        require(predictor, "predictor");
        require(decoded, "decoded");
        *decoded = decode(*predictor->predictor, {"features", features, features_size}, feeds);
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
