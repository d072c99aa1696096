// Base64 as tokenizer files hold it: standard alphabet, padding where needed, nothing else.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace halftone::text {

std::optional<std::string> from_base64(std::string_view text);  // empty when `text` is not base64
std::string to_base64(std::string_view bytes);

}  // namespace halftone::text
