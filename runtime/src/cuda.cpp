#include "cuda.hpp"

#include "error.hpp"

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

void checked(const std::string& action, cudaError_t error) {
    if (error == cudaSuccess) return;
    cudaGetLastError();  // or whoever looks at it next takes this error for its own
    throw backend_error("CUDA cannot " + action + " (" + said(error) + "); " + cure(error));
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
    cudaDeviceProp found{};
    checked("describe its device", cudaGetDeviceProperties(&found, current_device()));
    return {found.name, 10 * found.major + found.minor};
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

Stream::Stream() {
    cudaStream_t stream = nullptr;
    // Not blocking: it shall not wait for the legacy stream, which others in this process may use.
    checked("create a stream", cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
    handle_.reset(stream);
}

void Stream::copy(void* target, const void* source, std::size_t size, cudaMemcpyKind kind) const {
    checked("copy", cudaMemcpyAsync(target, source, size, kind, handle()));
}

void Stream::synchronize() const { checked("finish its work", cudaStreamSynchronize(handle())); }

}  // namespace glesam::core
