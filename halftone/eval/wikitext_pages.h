// The WikiText set as documents: pages, and the text that lm-eval makes of them.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace halftone::eval {

// Pages of the raw set, as EleutherAI/wikitext_document_level cuts them: a line "= Title =" begins
// one. `rows`: lines, with their newline or not.
std::vector<std::string> wikitext_pages(std::string_view text);
// lm-eval's wikitext_detokenizer: spaces around punctuation, brackets and quotes taken out.
std::string wikitext_detokenize(std::string page);

}  // namespace halftone::eval
