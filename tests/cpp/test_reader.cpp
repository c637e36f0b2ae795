// The bundle reader under hostile input. tests/runtime compares its messages with Python's.
#include <unistd.h>

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "bundle/bundle.hpp"
#include "bundle/file.hpp"
#include "bundle/json_fields.hpp"
#include "bundle/manifest.hpp"
#include "check.hpp"
#include "common/error.hpp"

using glesam::core::Error;
using glesam_tests::contains;
using glesam_tests::thrown_by;

namespace {

std::string manifest_text() { return glesam::core::read_file(std::string(GLESAM_NANO) + "/bundle.json"); }

/// Parses a bundle.json; a BundleError is fine, anything else fails the test.
bool is_read_or_refused(const std::string& text) {
    try {
        glesam::core::parse_manifest(text);
        return true;
    } catch (const Error& error) {
        const std::string message = error.what();
        return error.status() == GLESAM_BUNDLE_ERROR && !contains(message, "\n") && contains(message, "bundle.json");
    }
}

void a_sound_bundle_opens() {
    const auto bundle = glesam::core::open_bundle(GLESAM_NANO);
    CHECK(bundle.manifest.name == "nano");
    CHECK(bundle.manifest.image_size == 512);
    CHECK(bundle.hash.size() == 64);
    CHECK(bundle.graph_path("gle").filename() == "gle.onnx");
}

void a_file_that_was_replaced_after_its_hash_is_refused() {
    namespace fs = std::filesystem;
    const fs::path copy = fs::temp_directory_path() / ("glesam_reader_" + std::to_string(getpid()));
    fs::copy(GLESAM_NANO, copy, fs::copy_options::recursive);
    const auto bundle = glesam::core::open_bundle(copy);
    CHECK(bundle.graph_path("gle") == copy / "gle.onnx");
    fs::last_write_time(copy / "mask_decoder.onnx", fs::file_time_type::clock::now() + std::chrono::hours(1));
    CHECK(contains(thrown_by<Error>([&] { bundle.graph_path("gle"); }),
                   "mask_decoder.onnx was replaced after its hash was checked; open the bundle again"));
    fs::remove_all(copy);
}

void a_cut_manifest_is_refused_wherever_it_is_cut() {
    const std::string text = manifest_text();
    for (std::size_t size = 0; size + 1 < text.size(); size += 7) {
        const auto cut = text.substr(0, size);
        CHECK(contains(thrown_by<Error>([&] { glesam::core::parse_manifest(cut); }), "is not JSON"));
    }
}

void a_changed_byte_is_read_or_refused_and_nothing_else() {
    const std::string text = manifest_text();
    for (std::size_t i = 0; i < text.size(); i += 7) {
        for (const char byte : {'\0', '"', '{', ']', '9', '-', '\xff', '\n'}) {
            std::string changed = text;
            changed[i] = byte;
            CHECK(is_read_or_refused(changed));
        }
    }
}

void deep_nesting_is_refused_before_the_stack_ends() {
    for (const std::size_t depth : {800U, 1000U, 100000U}) {
        CHECK(is_read_or_refused(std::string(depth, '[') + std::string(depth, ']')));
        CHECK(is_read_or_refused("{\"format_version\":" + std::string(depth, '[') + std::string(depth, ']') + "}"));
    }
}

void a_number_beyond_every_type_is_refused() {
    CHECK(is_read_or_refused("{\"format_version\": 1" + std::string(5000, '0') + "}"));
    CHECK(is_read_or_refused("{\"format_version\": 18446744073709551615}"));
    CHECK(is_read_or_refused("{\"format_version\": -9223372036854775809}"));
    for (const char* size : {"8589934592", "9223372036854775808", "65536"}) {
        std::string text = manifest_text();
        text.replace(text.find("512"), 3, size);  // the first 512 is image_size
        CHECK(contains(thrown_by<Error>([&] { glesam::core::parse_manifest(text); }), "image_size must be"));
    }
}

/// nano's bundle.json with one more tensor of gle, an input or an output.
std::string with_tensor(const char* side, const char* name, std::vector<std::int64_t> shape) {
    glesam::core::Json document = glesam::core::parse_json(manifest_text());
    document["graphs"]["gle"][side].push_back({{"name", name}, {"dtype", "float32"}, {"shape", shape}});
    return document.dump();
}

void gle_may_tell_the_degradation_level() {
    const auto manifest = glesam::core::parse_manifest(with_tensor("outputs", "degradation_level", {1}));
    const auto& outputs = manifest.graphs.at("gle").spec.outputs;
    CHECK(outputs.size() == 2 && outputs.back().text() == "degradation_level float32 [1]");
    for (const auto& text : {with_tensor("outputs", "degradation_level", {2}), with_tensor("outputs", "other", {1}),
                             with_tensor("inputs", "degradation_level", {1})}) {
        CHECK(contains(thrown_by<Error>([&] { glesam::core::parse_manifest(text); }), "must be image_embeddings"));
    }
}

void gle_may_take_a_second_sensor() {
    const auto manifest = glesam::core::parse_manifest(with_tensor("inputs", "auxiliary_image", {1, 1, 512, 512}));
    const auto& inputs = manifest.graphs.at("gle").spec.inputs;
    CHECK(inputs.size() == 2 && inputs.back().text() == "auxiliary_image float32 [1,1,512,512]");
    const std::string other = with_tensor("inputs", "auxiliary_image", {1, 1, 512, 256});
    CHECK(contains(thrown_by<Error>([&] { glesam::core::parse_manifest(other); }), "must be image_embeddings"));
}

}  // namespace

int main() {
    return glesam_tests::run_all({
        {"a sound bundle opens", a_sound_bundle_opens},
        {"a file that was replaced after its hash is refused", a_file_that_was_replaced_after_its_hash_is_refused},
        {"a cut manifest is refused wherever it is cut", a_cut_manifest_is_refused_wherever_it_is_cut},
        {"a changed byte is read or refused and nothing else", a_changed_byte_is_read_or_refused_and_nothing_else},
        {"deep nesting is refused before the stack ends", deep_nesting_is_refused_before_the_stack_ends},
        {"a number beyond every type is refused", a_number_beyond_every_type_is_refused},
        {"GLE may tell the degradation level", gle_may_tell_the_degradation_level},
        {"GLE may take a second sensor", gle_may_take_a_second_sensor},
    });
}
