#include "train/data/sha256.h"

#include <fcntl.h>
#include <openssl/evp.h>

#include <array>
#include <new>
#include <vector>

#include "support/error.h"
#include "support/file_descriptor.h"

namespace mmrec {

namespace {

void check(int result) {
  if (result != 1) fail("OpenSSL cannot compute a SHA-256; does its configuration allow it?");
}

}  // namespace

Sha256::Sha256() : context_(EVP_MD_CTX_new(), EVP_MD_CTX_free) {
  if (!context_) throw std::bad_alloc();
  check(EVP_DigestInit_ex(context_.get(), EVP_sha256(), nullptr));
}

void Sha256::update(std::span<const std::byte> bytes) {
  check(EVP_DigestUpdate(context_.get(), bytes.data(), bytes.size()));
}

std::string Sha256::hex() {
  std::array<unsigned char, 32> digest;
  check(EVP_DigestFinal_ex(context_.get(), digest.data(), nullptr));
  std::string text;
  for (const unsigned char byte : digest) text += fmt::format("{:02x}", byte);
  return text;
}

std::string sha256_of_file(const std::filesystem::path& path,
                           const std::function<void(int64_t bytes_read)>& observe) {
  const FileDescriptor file("read", path, O_RDONLY);
  Sha256 digest;
  std::vector<std::byte> block(size_t{1} << 20);
  int64_t bytes = 0;
  while (const size_t got = file.read(block)) {
    digest.update(std::span(block).first(got));
    observe(bytes += static_cast<int64_t>(got));
  }
  return digest.hex();
}

}  // namespace mmrec
