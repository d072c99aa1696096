#include "halftone/base/error.h"
#include "halftone/spec/checkpoint.h"
namespace halftone::spec {
Checkpoint open_gguf(const std::string&, const std::string& path, const Context&) { throw UnsupportedError(path, "GGUF"); }
}  // namespace halftone::spec
