#include "halftone/spec/gguf_config.h"

#include "halftone/base/error.h"

namespace halftone::spec {
namespace {
[[noreturn]] void pending() { throw UnsupportedError("", "GGUF metadata"); }
}  // namespace
GgufArchitecture::GgufArchitecture(const files::GgufFile& file) : file_(file) { (void)file_; }
bool GgufArchitecture::has(std::string_view) const { pending(); }
int64_t GgufArchitecture::integer(std::string_view, std::optional<int64_t>) const { pending(); }
double GgufArchitecture::number(std::string_view, std::optional<double>) const { pending(); }
std::string GgufArchitecture::text(std::string_view, std::optional<std::string>) const { pending(); }
bool GgufArchitecture::boolean(std::string_view, std::optional<bool>) const { pending(); }
int64_t GgufArchitecture::vocabulary() const { pending(); }
int64_t GgufArchitecture::rows(const std::string&, int64_t) const { pending(); }
bool GgufArchitecture::has_tensor(const std::string&) const { pending(); }
void GgufArchitecture::special_ids(Json&) const { pending(); }
const std::string& GgufArchitecture::path() const { pending(); }
}  // namespace halftone::spec
