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

/// Only sizes that the graph states can disagree: exporters leave some outputs' sizes open.
bool size_fits(const Dimension& expected, const Dimension& found) {
    return std::holds_alternative<std::string>(found) || found == expected;
}

void check_tensor(const std::filesystem::path& path, const TensorSpec& expected, const TensorSpec& found) {
    bool fits = found.dtype == expected.dtype && found.shape.size() == expected.shape.size();
    for (std::size_t i = 0; fits && i < found.shape.size(); ++i) {
        fits = size_fits(expected.shape[i], found.shape[i]);
    }
    if (!fits) {
        throw backend_error(path.string() + ": expected " + expected.text() + ", found " + found.text() +
                            "; export the bundle again");
    }
}

void check_side(const std::filesystem::path& path, const char* side, const std::vector<TensorSpec>& expected,
                const std::vector<TensorSpec>& found) {
    const auto named = [&](const std::string& name) {
        return std::find_if(found.begin(), found.end(), [&](const TensorSpec& spec) { return spec.name == name; });
    };
    const bool complete = std::all_of(expected.begin(), expected.end(),
                                      [&](const TensorSpec& spec) { return named(spec.name) != found.end(); });
    if (!complete || found.size() != expected.size()) {
        throw backend_error(path.string() + ": " + side + " must be " + names_text(expected) + ", found " +
                            (found.empty() ? "none" : names_text(found)) + "; export the bundle again");
    }
    for (const TensorSpec& spec : expected) check_tensor(path, spec, *named(spec.name));
}

/// The size that `inputs` give to a dynamic dimension. Called in every run, so without a copy of its name.
std::int64_t dynamic_size(const Dimension& name, const GraphSpec& spec, const Tensor* inputs) {
    for (std::size_t i = 0; i < spec.inputs.size(); ++i) {
        const auto& shape = spec.inputs[i].shape;
        const auto found = std::find(shape.begin(), shape.end(), name);
        if (found != shape.end()) return inputs[i].shape.sizes[static_cast<std::size_t>(found - shape.begin())];
    }
    return -1;
}

bool output_fits(const TensorSpec& expected, const Shape& found, const GraphSpec& spec, const Tensor* inputs) {
    if (found.rank != expected.shape.size()) return false;
    for (std::size_t i = 0; i < found.rank; ++i) {
        const auto* fixed = std::get_if<std::int64_t>(&expected.shape[i]);
        const std::int64_t size = fixed != nullptr ? *fixed : dynamic_size(expected.shape[i], spec, inputs);
        if (found.sizes[i] != size) return false;
    }
    return true;
}

void check_output(const TensorSpec& expected, const Shape& found, const GraphSpec& spec, const Tensor* inputs) {
    if (output_fits(expected, found, spec, inputs)) return;
    TensorSpec answer{expected.name, expected.dtype, {}};
    for (std::size_t i = 0; i < found.rank; ++i) {
        answer.shape.push_back(i < found.sizes.size() ? Dimension(found.sizes[i]) : Dimension("?"));
    }
    throw backend_error(spec.name + " output: expected " + expected.text() + ", found " + answer.text() +
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
