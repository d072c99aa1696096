// What commands run on to success: a model of a few kB, and a few lines of data.
#pragma once

#include <gtest/gtest.h>

#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "halftone/base/env.h"
#include "halftone/base/json.h"
#include "tests/process.h"

namespace halftone::tests {

// A tiny random model with a tokenizer of one token a character (96 of them, as many as it has
// rows) and a template that writes what was said and nothing else.
class TinyModel : public testing::Test {
 protected:
  TinyModel() {
    const std::string weights =
        std::string(HALFTONE_SOURCE_DIR) + "/tests/fixtures/models/llama_mha_tied";
    env->make_directories(model);
    for (const char* name : {"config.json", "model.safetensors"})
      write("m/" + std::string(name), env->read_text(join_path(weights, name), 1 << 24));
    Json vocab = Json::object();
    for (char c = '!'; c <= '~'; ++c) vocab[std::string(1, c)] = vocab.size();
    for (const char* space : {" ", "\n"}) vocab[space] = vocab.size();
    write("m/tokenizer.json",
          Json({{"model", {{"type", "BPE"}, {"vocab", vocab}, {"merges", Json::array()}}},
                {"decoder", {{"type", "Fuse"}}}})
              .dump());
    write("m/tokenizer_config.json",
          R"({"chat_template": "{% for m in messages %}{{ m.content }}{% endfor %}"})");
    env->make_directories(scratch.path("data/wikitext2"));
    env->make_directories(scratch.path("data/ptb"));
    env->make_directories(scratch.path("data/c4"));
    const std::string line = "Once upon a time there was a little girl named Lily. ";
    write("data/wikitext2/test.txt", line + line + line + "\n");
    write("data/ptb/ptb.valid.txt", line + line + line + "\n");
    write("data/c4/c4_fragments.jsonl", Json({{"text", line + line + line}}).dump() + "\n");
  }
  void write(const std::string& name, const std::string& text) const {
    write_atomically(*env, scratch.path(name), text);
  }
  Json json_of(std::vector<std::string> words,
               const std::map<std::string, std::string>& extra = {}) const {
    words.emplace_back("--json");
    const Outcome outcome = halftone(words, extra);
    EXPECT_EQ(outcome.exit, 0) << outcome.err;
    return parse_json(outcome.out, words[0]);
  }
  Json eval(std::vector<std::string> more) const {
    std::vector<std::string> words = {"eval",     model, "--data",    scratch.path("data"),
                                      "--window", "32",  "--threads", "1"};
    words.insert(words.end(), more.begin(), more.end());
    return json_of(words)["results"];
  }

  std::unique_ptr<Env> env = posix_env();
  Scratch scratch;
  const std::string model = scratch.path("m");
};

inline std::set<std::string> keys_of(const Json& object) {
  std::set<std::string> keys;
  for (const auto& [key, value] : object.items()) keys.insert(key);
  return keys;
}

}  // namespace halftone::tests
