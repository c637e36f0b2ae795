#include "bundle/sha256.hpp"

#include <openssl/evp.h>

#include <array>
#include <memory>
#include <new>
#include <vector>

namespace glesam::core {

namespace {

constexpr std::size_t chunk_bytes = std::size_t{1} << 20U;

class Digest {
   public:
    Digest() : context_(EVP_MD_CTX_new(), &EVP_MD_CTX_free) {
        if (!context_ || EVP_DigestInit_ex(context_.get(), EVP_sha256(), nullptr) != 1) throw std::bad_alloc();
    }

    void update(const void* data, std::size_t size) { EVP_DigestUpdate(context_.get(), data, size); }

    std::string hex() {
        std::array<unsigned char, EVP_MAX_MD_SIZE> bytes{};
        unsigned int size = 0;
        EVP_DigestFinal_ex(context_.get(), bytes.data(), &size);
        std::string text;
        for (unsigned int i = 0; i < size; ++i) {
            text += "0123456789abcdef"[bytes[i] >> 4U];
            text += "0123456789abcdef"[bytes[i] & 15U];
        }
        return text;
    }

   private:
    std::unique_ptr<EVP_MD_CTX, decltype(&EVP_MD_CTX_free)> context_;
};

}  // namespace

std::string sha256_of(std::string_view text) {
    Digest digest;
    digest.update(text.data(), text.size());
    return digest.hex();
}

std::string sha256_of_file(File& file) {
    Digest digest;
    std::vector<char> chunk(chunk_bytes);
    while (const std::size_t size = file.read(chunk.data(), chunk.size())) digest.update(chunk.data(), size);
    return digest.hex();
}

}  // namespace glesam::core
