// What "auto" chooses and says, for any set of backends.
#include "engines/choice.hpp"

#include "check.hpp"
#include "common/error.hpp"

using glesam::core::Error;
using glesam::core::pick_backend;
using glesam_tests::contains;
using glesam_tests::thrown_by;

namespace {

using Names = std::vector<std::string>;

const Names both = {"openvino", "onnxruntime"};

bool takes(const char* precision, const Names& built, const char* backend, const char* reason, bool exact_int8 = true,
           const char* target = "any") {
    const auto choice = pick_backend("auto", precision, built, target, exact_int8);
    return choice.backend == backend && choice.reason == std::string("auto: ") + reason;
}

void auto_weighs_the_precision() {
    CHECK(takes("fp32", both, "onnxruntime", "it is part of this build"));
    CHECK(takes("fp16", both, "onnxruntime", "it is part of this build"));
    CHECK(takes("bf16", both, "openvino", "for bf16 graphs, which onnxruntime cannot compute on a CPU"));
    for (const char* precision : {"int8+fp16", "int8+fp32"}) {
        CHECK(takes(precision, both, "openvino", "for int8 graphs, of which onnxruntime computes much in float"));
    }
}

void without_vnni_auto_leaves_int8_to_onnxruntime() {
    for (const char* precision : {"int8+fp16", "int8+fp32"}) {
        CHECK(takes(precision, both, "onnxruntime", "it is part of this build", false));
        CHECK(takes(precision, {"openvino"}, "openvino", "onnxruntime is not in this build", false));
    }
    CHECK(takes("int8+bf16", both, "openvino", "for bf16 graphs, which onnxruntime cannot compute on a CPU", false));
}

void auto_takes_the_runtime_that_int8_was_made_for() {
    const char* precision = "int8+fp32";
    CHECK(takes(precision, both, "onnxruntime", "the int8 layers are quantized for it", true, "onnxruntime"));
    CHECK(takes(precision, both, "onnxruntime", "the int8 layers are quantized for it", false, "onnxruntime"));
    const char* otherwise = "for int8 graphs, of which onnxruntime computes much in float";
    CHECK(takes(precision, both, "openvino", otherwise, true, "openvino"));
    CHECK(takes(precision, {"openvino"}, "openvino", otherwise, true, "onnxruntime"));
}

void auto_takes_what_there_is() {
    CHECK(takes("fp16", {"openvino"}, "openvino", "onnxruntime is not in this build"));
    CHECK(takes("int8+fp32", {"onnxruntime"}, "onnxruntime", "it is part of this build"));
    const auto refusal = thrown_by<Error>([] { pick_backend("auto", "int8+bf16", {"onnxruntime"}); });
    CHECK(contains(refusal, "nothing here computes in int8+bf16 (openvino: it is not in this build"));
    CHECK(contains(refusal, "onnxruntime: it cannot compute bf16 graphs on a CPU)"));
    const auto no_engines = thrown_by<Error>([] { pick_backend("auto", "fp16", {"tensorrt"}); });
    CHECK(contains(no_engines, "tensorrt: no engines of the bundle for a GPU here are cached; run glesam-build"));
}

void a_name_is_accepted_or_refused() {
    CHECK(pick_backend("openvino", "fp16", both).reason == "as asked");
    const auto refusal = [](const char* name, const char* precision) {
        return thrown_by<Error>([&] { pick_backend(name, precision, both); });
    };
    CHECK(refusal("abacus", "fp16") == "backend 'abacus' is unknown; choose auto or openvino or onnxruntime");
    CHECK(contains(refusal("tensorrt-rtx", "fp16"), "backend 'tensorrt-rtx' is not in this build"));
    CHECK(refusal("onnxruntime", "bf16") ==
          "backend onnxruntime has no bf16 arithmetic here, and the bundle is bf16; choose openvino, or export with "
          "--precision fp32 or fp16");
    CHECK(contains(thrown_by<Error>([] { pick_backend("auto", "fp16", {}); }), "built without any"));
}

}  // namespace

int main() {
    return glesam_tests::run_all({
        {"auto weighs the precision", auto_weighs_the_precision},
        {"without VNNI auto leaves int8 to onnxruntime", without_vnni_auto_leaves_int8_to_onnxruntime},
        {"auto takes the runtime that int8 was made for", auto_takes_the_runtime_that_int8_was_made_for},
        {"auto takes what there is", auto_takes_what_there_is},
        {"a name is accepted or refused", a_name_is_accepted_or_refused},
    });
}
