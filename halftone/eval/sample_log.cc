#include "halftone/eval/sample_log.h"

#include "halftone/eval/python_text.h"

namespace halftone::eval {

Json sample_line(const Sample& sample) {
  Json arguments = Json::object(), resps = Json::array(), filtered = Json::array(),
       names = Json::array();
  for (size_t i = 0; i < sample.requests.size(); ++i) {
    const Request& request = sample.requests[i];
    arguments["gen_args_" + std::to_string(i)] = {{"arg_0", request.context},
                                                  {"arg_1", request.continuation}};
    // Numbers as text, as lm-eval writes them for the datasets package.
    const Json pair = {repr(sample.scores[i].log_likelihood),
                       sample.scores[i].greedy ? "True" : "False"};
    resps.push_back(Json::array({pair}));
    filtered.push_back(pair);
  }
  for (const auto& [name, value] : sample.metrics) names.push_back(name);
  Json line = {{"task", sample.task},        {"doc_id", sample.id},    {"doc", sample.doc},
               {"target", sample.target},    {"arguments", arguments}, {"resps", resps},
               {"filtered_resps", filtered}, {"filter", "none"},       {"metrics", names}};
  for (const auto& [name, value] : sample.metrics) line[name] = value;
  if (!sample.skipped.empty()) line["skipped"] = sample.skipped;
  return line;
}

}  // namespace halftone::eval
