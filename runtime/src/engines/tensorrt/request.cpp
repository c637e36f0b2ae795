#include "engines/tensorrt/request.hpp"

#include <algorithm>
#include <cstring>
#include <utility>

namespace glesam::core {

namespace {

constexpr const char* prompts_dimension = "num_prompts";
constexpr const char* points_dimension = "num_points";

/// Bytes of a tensor whose dynamic dimensions have `sizes`; float32 and int32 are four bytes wide.
std::size_t bytes_of(const TensorSpec& tensor, const Sizes& sizes) {
    std::size_t bytes = 4;
    for (const Dimension& size : tensor.shape) {
        const auto* fixed = std::get_if<std::int64_t>(&size);
        bytes *= static_cast<std::size_t>(fixed != nullptr ? *fixed : sizes.at(std::get<std::string>(size)));
    }
    return bytes;
}

/// The size of dimension `name`; 1 where the graph has none. Called in every run, so without a copy of the name.
std::int64_t value_of(const Sizes& sizes, const char* name) {
    for (const auto& [known, size] : sizes) {
        if (known == name) return size;
    }
    return 1;
}

bool has_prompts(const TensorSpec& tensor) {
    const auto* name = std::get_if<std::string>(&tensor.shape.front());
    return name != nullptr && *name == prompts_dimension;
}

nvinfer1::Dims dims(const Shape& shape) {
    nvinfer1::Dims result{};
    result.nbDims = static_cast<std::int32_t>(shape.rank);
    std::copy_n(shape.sizes.begin(), shape.rank, result.d);
    return result;
}

}  // namespace

TensorRtRequest::TensorRtRequest(std::shared_ptr<const Compiled> compiled)
    : compiled_(std::move(compiled)), stream_(compiled_->device), sizes_(compiled_->limits) {
    for (const TensorSpec& tensor : spec().inputs) inputs_.emplace_back(bytes_of(tensor, sizes_));
    for (const TensorSpec& tensor : spec().outputs) outputs_.emplace_back(bytes_of(tensor, sizes_));
    make_context();
}

void TensorRtRequest::make_context() {
    forget_error();
    context_.reset(compiled_->engine->createExecutionContext());
    if (!context_) {
        throw backend_error(spec().name + ": TensorRT cannot make an execution context (" + take_error() +
                            "); free GPU memory");
    }
    for (std::size_t i = 0; i < outputs_.size(); ++i) {
        const std::string& name = spec().outputs[i].name;
        if (!context_->setTensorAddress(name.c_str(), outputs_[i].device.data())) {
            throw refuses("the address of ", name);
        }
    }
}

Error TensorRtRequest::refuses(const char* what, const std::string& name) const {
    return backend_error(spec().name + ": TensorRT refuses " + what + name + " (" + take_error() +
                         "); build the engine for it with glesam-build");
}

void TensorRtRequest::run(const Tensor* inputs, Tensor* outputs) {
    begin(inputs);
    const std::int64_t prompts = size_of(prompts_dimension);
    const std::int64_t limit = limit_of(prompts_dimension);
    for (std::size_t i = 0; i < outputs_.size(); ++i) outputs_[i].pinned.grow(bytes_of(spec().outputs[i], sizes_));
    for (std::int64_t start = 0; start < prompts; start += limit) {
        const std::int64_t count = std::min(limit, prompts - start);
        queue(inputs, start, count);
        for (std::size_t i = 0; i < outputs_.size(); ++i) download(i, start, count);
        stream_.synchronize();  // before the pinned memory is written or read again
    }
    for (std::size_t i = 0; i < outputs_.size(); ++i) outputs[i] = output(i, outputs_[i].pinned.data());
}

void TensorRtRequest::run_on_device(const Tensor* inputs, Tensor* outputs) {
    begin(inputs);
    const std::int64_t prompts = size_of(prompts_dimension);
    if (prompts > limit_of(prompts_dimension)) {
        throw backend_error(spec().name + ": this engine leaves at most " +
                            std::to_string(limit_of(prompts_dimension)) + " prompts' answers on the device, found " +
                            std::to_string(prompts) + "; ask for fewer at a time");
    }
    queue(inputs, 0, prompts);
    stream_.synchronize();
    for (std::size_t i = 0; i < outputs_.size(); ++i) {
        outputs[i] = output(i, outputs_[i].device.data());
        outputs[i].on_device = true;
        outputs[i].stream = stream_.handle();
    }
}

/// Reads this run's sizes. Throws BackendError for more points than the engine takes.
void TensorRtRequest::begin(const Tensor* inputs) {
    use_device(compiled_->device);
    forget_error();
    for (const TensorSpec& tensor : spec().inputs) {
        const std::int64_t* size = (inputs++)->shape.sizes.data();
        for (const Dimension& expected : tensor.shape) {
            const auto* name = std::get_if<std::string>(&expected);
            if (name != nullptr) sizes_.find(*name)->second = *size;
            ++size;
        }
    }
    const std::int64_t limit = limit_of(points_dimension);
    if (size_of(points_dimension) <= limit) return;
    throw backend_error(spec().name + ": this engine takes at most " + std::to_string(limit) +
                        " points per prompt, found " + std::to_string(size_of(points_dimension)) +
                        "; give fewer, or build it again with glesam-build for more");
}

/// Queues the work for `count` prompts from `start` on; the outputs go to device memory.
void TensorRtRequest::queue(const Tensor* inputs, std::int64_t start, std::int64_t count) {
    for (std::size_t i = 0; i < inputs_.size(); ++i) set_input(i, inputs[i], start, count);
    if (context_->enqueueV3(stream_.handle())) return;
    const std::string reason = take_error();
    stream_.synchronize();  // earlier work may still read the caller's memory
    throw cannot_run(spec(), tensorrt_library(), reason);
}

/// Sets input `i`: `count` prompts from `start` on, or all of a tensor without prompts.
void TensorRtRequest::set_input(std::size_t i, const Tensor& tensor, std::int64_t start, std::int64_t count) {
    const TensorSpec& expected = spec().inputs[i];
    Shape shape = tensor.shape;
    const bool by_prompt = has_prompts(expected);
    if (by_prompt) shape.sizes[0] = count;
    if (expected.is_dynamic() && !context_->setInputShape(expected.name.c_str(), dims(shape))) {
        throw refuses("the shape of ", expected.name);
    }
    const std::size_t bytes = 4 * shape.elements();
    const std::size_t skipped =
        by_prompt ? bytes / static_cast<std::size_t>(count) * static_cast<std::size_t>(start) : 0;
    const void* source = static_cast<const char*>(tensor.data) + skipped;
    if (tensor.on_device) stream_.follow(tensor.stream);
    const void* address = tensor.on_device ? source : upload(i, source, bytes);
    if (!context_->setInputTensorAddress(expected.name.c_str(), address)) {
        throw refuses("the address of ", expected.name);
    }
}

/// Queues the copy of a host input to the device. Returns its address there.
const void* TensorRtRequest::upload(std::size_t i, const void* source, std::size_t bytes) const {
    const Buffers& buffers = inputs_[i];
    std::memcpy(buffers.pinned.data(), source, bytes);
    stream_.copy(buffers.device.data(), buffers.pinned.data(), bytes, cudaMemcpyHostToDevice);
    return buffers.device.data();
}

void TensorRtRequest::download(std::size_t i, std::int64_t start, std::int64_t count) {
    const std::size_t all = bytes_of(spec().outputs[i], sizes_);
    const std::size_t one =
        has_prompts(spec().outputs[i]) ? all / static_cast<std::size_t>(size_of(prompts_dimension)) : all;
    const std::size_t bytes = has_prompts(spec().outputs[i]) ? one * static_cast<std::size_t>(count) : all;
    auto* target = static_cast<char*>(outputs_[i].pinned.data()) + one * static_cast<std::size_t>(start);
    stream_.copy(target, outputs_[i].device.data(), bytes, cudaMemcpyDeviceToHost);
}

/// Output `i` in this run's sizes.
Tensor TensorRtRequest::output(std::size_t i, const void* data) const {
    Tensor result;
    result.data = data;
    for (const Dimension& size : spec().outputs[i].shape) {
        const auto* fixed = std::get_if<std::int64_t>(&size);
        result.shape.sizes[result.shape.rank++] = fixed != nullptr ? *fixed : size_of(prompts_dimension);
    }
    return result;
}

std::int64_t TensorRtRequest::size_of(const char* dimension) const { return value_of(sizes_, dimension); }

std::int64_t TensorRtRequest::limit_of(const char* dimension) const { return value_of(compiled_->limits, dimension); }

}  // namespace glesam::core
