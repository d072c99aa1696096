// What a model folder's files say together.
#include "halftone/text/load.h"

#include <gtest/gtest.h>

#include <cstdlib>

#include "halftone/base/json.h"
#include "halftone/text/test_text.h"

namespace halftone::text {
namespace {

class Folder {
 public:
  Folder() {
    char name[] = "/tmp/halftone_load_XXXXXX";
    EXPECT_NE(mkdtemp(name), nullptr);
    path_ = name;
  }
  ~Folder() { context.env->remove_tree(path_); }
  void write(const std::string& name, const std::string& text) const {
    const auto file = context.env->create(join_path(path_, name));
    file->write(text);
    file->close();
  }
  const std::string& path() const { return path_; }
  TestContext context;

 private:
  std::string path_;
};

const char* kTokenizer =
    R"({"added_tokens":[{"id":3,"content":"<s>","special":true,"single_word":false,"lstrip":false,"rstrip":false,"normalized":false},
  {"id":4,"content":"</s>","special":true,"single_word":false,"lstrip":false,"rstrip":false,"normalized":false}],
  "model":{"type":"BPE","vocab":{"a":0,"b":1,"ab":2},"merges":[["a","b"]]}})";

TEST(Load, ConfigurationNamesTheSpecialTokens) {
  Folder f;
  f.write("tokenizer.json", kTokenizer);
  f.write("special_tokens_map.json",
          R"({"bos_token":"a","eos_token":{"content":"</s>","lstrip":false}})");
  f.write(
      "tokenizer_config.json",
      R"({"bos_token":"<s>","eos_token":null,"add_bos_token":true,"add_eos_token":true,"tokenizer_class":"X"})");
  f.write("generation_config.json", R"({"eos_token_id":[2,4]})");
  const Tokenizer t = load_tokenizer(f.context, f.path());
  EXPECT_EQ(t.special().bos, 3);
  EXPECT_EQ(t.special().eos, 4);
  EXPECT_EQ(t.special().eos_ids, (std::vector<int32_t>{2, 4}));
  EXPECT_EQ(t.encode("ab"), (std::vector<int32_t>{3, 2, 4}));
  EXPECT_EQ(t.encode("ab", false), std::vector<int32_t>{2});
  EXPECT_TRUE(t.adds_bos());
  EXPECT_EQ(t.decode(t.encode("ab")), "ab");
  EXPECT_EQ(template_variables(t)["bos_token"], "<s>");
  // The text that runs is the text to write beside a packed model.
  EXPECT_EQ(Tokenizer::from_json(t.json(), "again").encode("ab"), t.encode("ab"));
}

TEST(Load, TheEndOfAGenerationStandsInConfigJsonOfOlderFolders) {
  Folder f;
  f.write("tokenizer.json", kTokenizer);
  f.write("config.json", R"({"eos_token_id":[2,3]})");  // 4, "</s>", is the tokenizer's own
  EXPECT_EQ(load_tokenizer(f.context, f.path()).special().eos_ids, (std::vector<int32_t>{2, 3, 4}));
  f.write("generation_config.json", R"({"eos_token_id":3})");  // the newer file wins
  EXPECT_EQ(load_tokenizer(f.context, f.path()).special().eos_ids, (std::vector<int32_t>{3, 4}));
  f.write("generation_config.json", "{}");
  f.write("config.json", R"({"eos_token_id":-5})");
  EXPECT_EQ(error_line([&] { load_tokenizer(f.context, f.path()); }),
            "error[E_VALUE] " + f.path() + "/config.json: \"eos_token_id\" is out of range");
}

TEST(Load, AddBosFalseTakesItAway) {
  Folder f;
  Json root = Json::parse(kTokenizer);
  root["post_processor"] = Json::parse(
      R"({"type":"TemplateProcessing","single":[{"SpecialToken":{"id":"<s>","type_id":0}},{"Sequence":{"id":"A","type_id":0}}],
    "pair":[{"Sequence":{"id":"A","type_id":0}},{"Sequence":{"id":"B","type_id":1}}],"special_tokens":{"<s>":{"id":"<s>","ids":[3],"tokens":["<s>"]}}})");
  f.write("tokenizer.json", root.dump());
  EXPECT_EQ(load_tokenizer(f.context, f.path()).encode("ab"), (std::vector<int32_t>{3, 2}));
  f.write("tokenizer_config.json", R"({"add_bos_token":false})");
  EXPECT_EQ(load_tokenizer(f.context, f.path()).encode("ab"), std::vector<int32_t>{2});
}

TEST(Load, FilesByPreference) {
  Folder f;
  EXPECT_EQ(error_line([&] { load_tokenizer(f.context, f.path()); }),
            "error[E_MISSING] " + f.path() +
                ": has no tokenizer: neither tokenizer.json nor vocab.json with merges.txt, "
                "*.model, *.tiktoken, vocab.txt; put "
                "tokenizer.json beside the weights");
  EXPECT_EQ(error_line([&] { load_tokenizer(f.context, f.path() + "/absent"); }),
            "error[E_MISSING] " + f.path() + "/absent: there is no such file or folder");
  f.write("vocab.txt", "[UNK]\na\n");
  EXPECT_EQ(load_tokenizer(f.context, f.path()).source(), f.path() + "/vocab.txt");
  f.write("x.tiktoken", "YQ== 0\nYg== 1\n");
  EXPECT_EQ(error_line([&] { load_tokenizer(f.context, f.path()); }),
            "error[E_UNSUPPORTED] " + f.path() +
                "/x.tiktoken: a rank file of 2 tokens does not say how to cut text; put "
                "tokenizer.json beside it");
  f.write("vocab.json", R"({"a":0,"b":1,"ab":2})");
  f.write("merges.txt", "#version: 0.2\na b\n");
  EXPECT_EQ(load_tokenizer(f.context, f.path()).source(), f.path() + "/vocab.json");
  EXPECT_EQ(load_tokenizer(f.context, f.path()).encode("ab"), std::vector<int32_t>{2});
  f.write("tokenizer.json", kTokenizer);
  EXPECT_EQ(load_tokenizer(f.context, f.path()).source(), f.path() + "/tokenizer.json");
  EXPECT_EQ(load_tokenizer(f.context, f.path() + "/vocab.json").source(), f.path() + "/vocab.json");
}

TEST(Load, AddedTokensOfTheConfigurationJoinABareVocabulary) {
  Folder f;
  f.write("vocab.json", R"({"a":0,"b":1,"ab":2})");
  f.write("merges.txt", "a b\r\n");
  f.write("config.json", R"({"model_type":"qwen2"})");
  f.write(
      "tokenizer_config.json",
      R"({"eos_token":"<|end|>","added_tokens_decoder":{"7":{"content":"<|end|>","special":true},"3":{"content":"<tool>","special":false}}})");
  const Tokenizer t = load_tokenizer(f.context, f.path());
  EXPECT_EQ(t.encode("ab<tool><|end|>"), (std::vector<int32_t>{2, 3, 7}));
  EXPECT_TRUE(t.is_special(7));
  EXPECT_FALSE(t.is_special(3));
  EXPECT_EQ(t.vocab_size(), 8);
  EXPECT_NE(t.json().find("\"NFC\""), std::string::npos);  // the Qwen line normalizes
}

TEST(Load, ChatTemplatesByPreference) {
  Folder f;
  const auto text = [&](const char* name = "default") {
    const auto chat = load_chat_template(f.context, f.path(), name);
    return chat ? chat->render(Json::array()) : std::string("none");
  };
  EXPECT_EQ(text(), "none");
  f.write("chat_template.json", R"({"chat_template":"old"})");
  EXPECT_EQ(text(), "old");
  f.write(
      "tokenizer_config.json",
      R"({"chat_template":[{"name":"default","template":"one"},{"name":"tool_use","template":"two"}]})");
  EXPECT_EQ(text(), "one");
  EXPECT_EQ(text("tool_use"), "two");
  f.write("tokenizer_config.json", R"({"chat_template":"text"})");
  EXPECT_EQ(text(), "text");
  f.write("chat_template.jinja", "new");
  EXPECT_EQ(text(), "new");
  f.write("chat_template.jinja", "{% if %}");
  EXPECT_EQ(error_line([&] { text(); }).substr(0, 16), "error[E_VALUE] /");
  f.context.env->remove(f.path() + "/chat_template.jinja");
  f.write("tokenizer_config.json", R"({"chat_template":7})");
  EXPECT_EQ(error_line([&] { text(); }), "error[E_TYPE] " + f.path() +
                                             "/tokenizer_config.json: \"chat_template\" is neither "
                                             "text nor a list of named templates");
  f.write("tokenizer_config.json", R"({"chat_template":[{"name":"default"}]})");
  EXPECT_EQ(
      error_line([&] { text(); }),
      "error[E_TYPE] " + f.path() +
          "/tokenizer_config.json: an entry of \"chat_template\" is not {\"name\", \"template\"}");
}

TEST(Load, BadConfigurationsAreNamed) {
  Folder f;
  f.write("tokenizer.json", kTokenizer);
  f.write("generation_config.json", R"({"eos_token_id":"2"})");
  EXPECT_EQ(
      error_line([&] { load_tokenizer(f.context, f.path()); }),
      "error[E_TYPE] " + f.path() +
          "/generation_config.json: \"eos_token_id\" is neither a whole number nor a list of them");
  f.write("generation_config.json", R"({"eos_token_id":-5})");
  EXPECT_EQ(
      error_line([&] { load_tokenizer(f.context, f.path()); }),
      "error[E_VALUE] " + f.path() + "/generation_config.json: \"eos_token_id\" is out of range");
  f.write("generation_config.json", "[]");
  EXPECT_EQ(error_line([&] { load_tokenizer(f.context, f.path()); }),
            "error[E_TYPE] " + f.path() + "/generation_config.json: is not a JSON object");
  f.write("generation_config.json", "{}");
  f.write("tokenizer_config.json", R"({"added_tokens_decoder":{"x":{"content":"a"}}})");
  EXPECT_EQ(error_line([&] { load_tokenizer(f.context, f.path()); }),
            "error[E_VALUE] " + f.path() +
                "/tokenizer_config.json: added_tokens_decoder: \"x\" is not a token id");
}

}  // namespace
}  // namespace halftone::text
