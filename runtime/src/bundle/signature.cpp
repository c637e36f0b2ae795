#include "bundle/signature.hpp"

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>

#include <memory>
#include <string>
#include <system_error>

#include "bundle/file.hpp"
#include "common/error.hpp"

namespace glesam::core {

namespace {

constexpr std::size_t most_key_bytes = 10'000;

struct Free {
    void operator()(BIO* bio) const { BIO_free(bio); }
    void operator()(EVP_PKEY* key) const { EVP_PKEY_free(key); }
    void operator()(EVP_MD_CTX* context) const { EVP_MD_CTX_free(context); }
};

template <typename Resource>
using Owned = std::unique_ptr<Resource, Free>;

const unsigned char* bytes(std::string_view text) { return reinterpret_cast<const unsigned char*>(text.data()); }

/// The start of a file; nothing where it cannot be read.
std::string key_text(const std::filesystem::path& path) {
    try {
        File file(path);
        return read_rest(file, most_key_bytes);
    } catch (const std::system_error&) {
        return {};
    }
}

Owned<EVP_PKEY> public_key(const std::filesystem::path& path) {
    const std::string text = key_text(path);
    const Owned<BIO> bio(BIO_new_mem_buf(text.data(), static_cast<int>(text.size())));
    Owned<EVP_PKEY> key(bio ? PEM_read_bio_PUBKEY(bio.get(), nullptr, nullptr, nullptr) : nullptr);
    ERR_clear_error();
    if (key && EVP_PKEY_id(key.get()) == EVP_PKEY_ED25519) return key;
    throw argument_error(path.string() +
                         ": expected an Ed25519 public key in PEM, without a password, found none; make one with: "
                         "openssl genpkey -algorithm ed25519 -out key.pem");
}

}  // namespace

void check_signature(const std::filesystem::path& root, std::string_view text, std::string_view signature,
                     const std::filesystem::path& key) {
    const Owned<EVP_PKEY> owner = public_key(key);
    const Owned<EVP_MD_CTX> context(EVP_MD_CTX_new());
    const bool ready = context && EVP_DigestVerifyInit(context.get(), nullptr, nullptr, nullptr, owner.get()) == 1;
    const bool is_sound =
        ready && EVP_DigestVerify(context.get(), bytes(signature), signature.size(), bytes(text), text.size()) == 1;
    ERR_clear_error();
    if (is_sound) return;
    throw bundle_error("bundle " + root.string() + ": expected a signature by the key " + key.string() +
                       ", found another; do not use this bundle, or give the public key of its maker");
}

}  // namespace glesam::core
