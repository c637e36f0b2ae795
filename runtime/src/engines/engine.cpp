#include "engines/engine.hpp"

#include <algorithm>

#include "common/text.hpp"

namespace glesam::core {

namespace {

std::string names_text(const std::vector<TensorSpec>& specs) {
    std::vector<std::string> names;
    for (const TensorSpec& spec : specs) names.push_back(spec.name);
    return joined(names, ", ");
}

/// Whether a graph's size fits; an unstated size always does, since exporters leave some outputs' sizes open.
bool size_fits(const Dimension& expected, const Dimension& actual) {
    return std::holds_alternative<std::string>(actual) || actual == expected;
}

void check_tensor(const std::filesystem::path& path, const TensorSpec& expected, const TensorSpec& actual) {
    bool fits = actual.dtype == expected.dtype && actual.shape.size() == expected.shape.size();
    for (std::size_t i = 0; fits && i < actual.shape.size(); ++i) {
        fits = size_fits(expected.shape[i], actual.shape[i]);
    }
    if (!fits) {
        throw backend_error(path.string() + ": expected " + expected.text() + ", found " + actual.text() +
                            "; export the bundle again");
    }
}

void check_side(const std::filesystem::path& path, const char* side, const std::vector<TensorSpec>& expected,
                const std::vector<TensorSpec>& actual) {
    const auto named = [&](const std::string& name) {
        return std::find_if(actual.begin(), actual.end(), [&](const TensorSpec& spec) { return spec.name == name; });
    };
    const bool complete = std::all_of(expected.begin(), expected.end(),
                                      [&](const TensorSpec& spec) { return named(spec.name) != actual.end(); });
    if (!complete || actual.size() != expected.size()) {
        throw backend_error(path.string() + ": " + side + " must be " + names_text(expected) + ", found " +
                            (actual.empty() ? "none" : names_text(actual)) + "; export the bundle again");
    }
    for (const TensorSpec& spec : expected) check_tensor(path, spec, *named(spec.name));
}

/// The size of a dynamic dimension according to `inputs`. Called in every run, so without a copy of its name.
std::int64_t dynamic_size(const Dimension& name, const GraphSpec& spec, const Tensor* inputs) {
    for (std::size_t i = 0; i < spec.inputs.size(); ++i) {
        const auto& shape = spec.inputs[i].shape;
        const auto axis = std::find(shape.begin(), shape.end(), name);
        if (axis != shape.end()) return inputs[i].shape.sizes[static_cast<std::size_t>(axis - shape.begin())];
    }
    return -1;
}

bool output_fits(const TensorSpec& expected, const Shape& actual, const GraphSpec& spec, const Tensor* inputs) {
    if (actual.rank != expected.shape.size()) return false;
    for (std::size_t i = 0; i < actual.rank; ++i) {
        const auto* fixed = std::get_if<std::int64_t>(&expected.shape[i]);
        const std::int64_t size = fixed != nullptr ? *fixed : dynamic_size(expected.shape[i], spec, inputs);
        if (actual.sizes[i] != size) return false;
    }
    return true;
}

void check_output(const TensorSpec& expected, const Shape& actual, const GraphSpec& spec, const Tensor* inputs) {
    if (output_fits(expected, actual, spec, inputs)) return;
    TensorSpec output{expected.name, expected.dtype, {}};
    for (std::size_t i = 0; i < actual.rank; ++i) {
        output.shape.push_back(i < actual.sizes.size() ? Dimension(actual.sizes[i]) : Dimension("?"));
    }
    throw backend_error(spec.name + " output: expected " + expected.text() + ", found " + output.text() +
                        "; convert or reshape it");
}

}  // namespace

CheckedRequest::CheckedRequest(const Engine& engine)
    : spec_(engine.spec()), request_(engine.new_request()), outputs_(spec_.outputs.size()) {}

const std::vector<Tensor>& CheckedRequest::run(const Tensor* inputs) {
    request_->run(inputs, outputs_.data());
    return checked(inputs);
}

const std::vector<Tensor>& CheckedRequest::run_on_device(const Tensor* inputs) {
    request_->run_on_device(inputs, outputs_.data());
    return checked(inputs);
}

const std::vector<Tensor>& CheckedRequest::checked(const Tensor* inputs) {
    for (std::size_t i = 0; i < outputs_.size(); ++i) {
        check_output(spec_.outputs[i], outputs_[i].shape, spec_, inputs);
    }
    return outputs_;
}

void check_graph(const std::filesystem::path& path, const GraphSpec& spec, const std::vector<TensorSpec>& inputs,
                 const std::vector<TensorSpec>& outputs) {
    check_side(path, "inputs", spec.inputs, inputs);
    check_side(path, "outputs", spec.outputs, outputs);
}

Error cannot_open(const std::filesystem::path& path, const std::string& library, const std::string& reason,
                  const std::string& package) {
    return backend_error(path.string() + ": " + library + " cannot open this graph (" + reason +
                         "); export the bundle again, or upgrade " + package);
}

Error cannot_run(const GraphSpec& spec, const std::string& library, const std::string& reason) {
    return backend_error(spec.name + ": " + library + " failed to run the graph (" + reason +
                         "); export the bundle again or free memory");
}

}  // namespace glesam::core
