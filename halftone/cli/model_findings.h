// What is wrong with the text side of a model, for `halftone check`. (pack/labels.h has the tensors'.)
#pragma once

#include <string>
#include <vector>

#include "halftone/cli/model_text.h"
#include "halftone/pack/labels.h"

namespace halftone::cli {

using pack::Finding;

// A BOS that the reference's tokenizer adds and this one does not, other ids that end a text, a chat
// template that is missing. Without a reference only what the model's name says.
std::vector<Finding> text_findings(const std::string& name, const ModelText& model,
                                   const ModelText* reference);

}  // namespace halftone::cli
