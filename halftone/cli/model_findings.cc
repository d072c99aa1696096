#include "halftone/cli/model_findings.h"

#include <algorithm>
#include <cctype>

namespace halftone::cli {
namespace {

std::string lower(std::string_view text) {
  std::string out(text);
  std::transform(out.begin(), out.end(), out.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return out;
}

}  // namespace

std::vector<Finding> text_findings(const std::string& name, const ModelText& model,
                                   const ModelText* reference) {
  std::vector<Finding> out;
  const bool adds = model.tokenizer.adds_bos();
  if (reference != nullptr) {
    if (adds != reference->tokenizer.adds_bos())
      out.push_back({Finding::Level::fault, "bos",
                     model.tokenizer.source() + (adds ? ": begins every text with BOS, the "
                                                        "reference's does not"
                                                      : ": adds no BOS, the reference's begins "
                                                        "every text with one"),
                     "take the reference's tokenizer"});
    if (model.tokenizer.special().eos_ids != reference->tokenizer.special().eos_ids)
      out.push_back({Finding::Level::warning, "eos",
                     "the ids that end a text are not those of the reference",
                     "take the reference's generation_config.json"});
    if (!model.chat && reference->chat)
      out.push_back({Finding::Level::fault, "chat_template",
                     "has no chat template, the reference has one", "take the reference's"});
    else if (model.chat && reference->chat && model.chat->source() != reference->chat->source())
      out.push_back({Finding::Level::note, "chat_template",
                     "its chat template is written otherwise than the reference's"});
    return out;
  }
  const std::string said = lower(name);
  if (!model.chat &&
      (said.find("instruct") != std::string::npos || said.find("chat") != std::string::npos))
    out.push_back({Finding::Level::warning, "chat_template",
                   "the name says it is made for chat, and it has no chat template"});
  return out;
}

}  // namespace halftone::cli
