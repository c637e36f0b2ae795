#include "engines/tensorrt/cuda.hpp"

#include <string>

#include "common/error.hpp"

namespace glesam::core {

namespace {

std::string said(cudaError_t error) { return std::string(cudaGetErrorName(error)) + ": " + cudaGetErrorString(error); }

const char* cure(cudaError_t error) {
    if (error == cudaErrorNoDevice || error == cudaErrorInsufficientDriver) {
        return "no GPU here: choose backend onnxruntime or openvino";
    }
    if (error == cudaErrorMemoryAllocation) return "free memory, or build engines for fewer prompts";
    return "start again; where it stays, choose backend onnxruntime or openvino";
}

}  // namespace

void checked(std::string_view action, cudaError_t error) {
    if (error == cudaSuccess) return;
    cudaGetLastError();  // else the next caller that looks at it mistakes this error for its own
    throw backend_error("CUDA cannot " + std::string(action) + " (" + said(error) + "); " + cure(error));
}

int current_device() {
    int count = 0;
    const cudaError_t error = cudaGetDeviceCount(&count);
    if (error != cudaSuccess || count == 0) {
        throw backend_error("no GPU here (" + said(error) + "); choose backend onnxruntime or openvino");
    }
    int device = 0;
    checked("name its device", cudaGetDevice(&device));
    return device;
}

Gpu current_gpu() {
    cudaDeviceProp properties{};
    checked("describe its device", cudaGetDeviceProperties(&properties, current_device()));
    return {properties.name, 10 * properties.major + properties.minor};
}

void use_device(int device) { checked("use GPU " + std::to_string(device), cudaSetDevice(device)); }

DeviceBuffer::DeviceBuffer(std::size_t size) {
    void* memory = nullptr;
    checked("allocate " + std::to_string(size) + " bytes on the GPU", cudaMalloc(&memory, size));
    memory_.reset(memory);
}

void PinnedBuffer::grow(std::size_t size) {
    if (size <= size_) return;
    memory_.reset();
    size_ = 0;
    void* memory = nullptr;
    checked("allocate " + std::to_string(size) + " pinned bytes", cudaMallocHost(&memory, size));
    memory_.reset(memory);
    size_ = size;
}

Stream::Stream(int device) {
    use_device(device);
    cudaStream_t stream = nullptr;
    // Non-blocking: it must not wait for the legacy stream, which others in this process may use.
    checked("create a stream", cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
    handle_.reset(stream);
    cudaEvent_t mark = nullptr;
    checked("create an event", cudaEventCreateWithFlags(&mark, cudaEventDisableTiming));
    mark_.reset(mark);
}

void Stream::follow(void* other) const {
    checked("mark a stream", cudaEventRecord(mark_.get(), static_cast<cudaStream_t>(other)));
    checked("wait for a stream", cudaStreamWaitEvent(handle(), mark_.get(), 0));
}

void Stream::copy(void* target, const void* source, std::size_t size, cudaMemcpyKind kind) const {
    checked("copy", cudaMemcpyAsync(target, source, size, kind, handle()));
}

void Stream::synchronize() const { checked("finish its work", cudaStreamSynchronize(handle())); }

std::shared_ptr<void> CudaMemory::allocate(std::size_t size) {
    use_device(device_);
    const auto buffer = std::make_shared<DeviceBuffer>(size);
    return {buffer, buffer->data()};
}

std::shared_ptr<void> CudaMemory::allocate_on_host(std::size_t size) {
    use_device(device_);
    const auto buffer = std::make_shared<PinnedBuffer>(size);
    return {buffer, buffer->data()};
}

void CudaMemory::check(const char* name, const void* data) const {
    use_device(device_);
    cudaPointerAttributes attributes{};
    checked("look up an address", cudaPointerGetAttributes(&attributes, data));
    // Page-locked memory of the host may have another address on the device, or none.
    if (attributes.type == cudaMemoryTypeUnregistered || attributes.devicePointer != data) {
        throw backend_error(std::string(name) + ": expected memory that GPU " + std::to_string(device_) +
                            " reaches, found other memory; give a device's address, or say that it is the host's");
    }
    if (attributes.type == cudaMemoryTypeDevice && attributes.device != device_) {
        throw backend_error(std::string(name) + ": expected memory of GPU " + std::to_string(device_) +
                            ", where the engine is, found memory of GPU " + std::to_string(attributes.device) +
                            "; copy it there");
    }
}

Tensor CudaMemory::copy(void* target, const Tensor& source) {
    use_device(device_);
    stream_.follow(source.stream);
    stream_.copy(target, source.data, source.bytes(), cudaMemcpyDefault);  // `source` may be mapped host memory
    stream_.synchronize();
    return {target, source.shape, true, stream_.handle()};
}

void CudaMemory::copy_to_host(void* target, const Pixels& source, void* stream) {
    use_device(device_);
    stream_.follow(stream);
    const std::size_t row = static_cast<std::size_t>(source.width) * static_cast<std::size_t>(source.step);
    checked("copy a picture",
            cudaMemcpy2DAsync(target, row, source.data, static_cast<std::size_t>(source.stride), row,
                              static_cast<std::size_t>(source.height), cudaMemcpyDefault, stream_.handle()));
    stream_.synchronize();
}

}  // namespace glesam::core
