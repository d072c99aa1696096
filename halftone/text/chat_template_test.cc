#include "halftone/text/chat_template.h"

#include <gtest/gtest.h>

#include "halftone/base/env.h"
#include "halftone/base/error.h"

namespace halftone::text {
namespace {

// What ChatTemplate answers: the text, or the line of the error.
std::string render(const std::string& source, const RenderOptions& options = {},
                   const Json& messages = Json::array({message("user", "hi")})) {
  try {
    return ChatTemplate::from_source(source, "t.jinja").render(messages, options);
  } catch (const Error& e) {
    return e.line();
  }
}

TEST(ChatTemplate, RendersChatMl) {
  const std::string source =
      "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] "
      "+ '<|im_end|>' + '\n'}}"
      "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}";
  EXPECT_EQ(render(source), "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n");
  EXPECT_EQ(render(source, {.add_generation_prompt = false}), "<|im_start|>user\nhi<|im_end|>\n");
}

TEST(ChatTemplate, TrimsBlocksLikeHuggingFace) {
  EXPECT_EQ(render("a\n  {% if true %}\nb\n  {% endif %}\nc\n"), "a\nb\nc");
}

TEST(ChatTemplate, GenerationTagsHaveNoOutputOfTheirOwn) {
  EXPECT_EQ(render("x {%- generation -%} {{ messages[0].content }} {% endgeneration %}y"), "xhi y");
  EXPECT_EQ(render("{% raw %}{% generation %}{% endraw %}"), "{% generation %}");
}

TEST(ChatTemplate, JsonIsWrittenAsPythonWritesIt) {
  const Json tools = Json::parse(
      R"([{"name":"f<x>","n":1.0,"big":1e20,"small":1e-7,"list":[1,true,null,"é\u0001"],"e":{},"l":[]}])");
  EXPECT_EQ(render("{{ tools | tojson }}", {.tools = tools}),
            "[{\"name\": \"f<x>\", \"n\": 1.0, \"big\": 1e+20, \"small\": 1e-07, \"list\": [1, "
            "true, null, \"é\\u0001\"], \"e\": {}, \"l\": []}]");
  EXPECT_EQ(render("{{ tools[0].list | tojson(indent=2) }}", {.tools = tools}),
            "[\n  1,\n  true,\n  null,\n  \"é\\u0001\"\n]");
  EXPECT_EQ(render("{{ {'b': 1, 'a': [2]} | tojson(sort_keys=true, separators=(',', ':')) }}"),
            "{\"a\":[2],\"b\":1}");
}

TEST(ChatTemplate, PythonMethodsWork) {
  EXPECT_EQ(render("{{ ' a b '.strip().split(' ')[-1] }}{% for k, v in {'x': 1}.items() %}{{ k "
                   "}}={{ v }}{% endfor %}"),
            "bx=1");
  EXPECT_EQ(render("{{ messages[0]['content'].startswith('h') }}{{ none }}"), "TrueNone");
}

TEST(ChatTemplate, TimeIsLocalAndFormatted) {
  setenv("TZ", "UTC", 1);
  EXPECT_EQ(render("{{ strftime_now('%d %b %Y') }}", {.now = 86400}), "02 Jan 1970");
}

TEST(ChatTemplate, RefusalIsTheCallersFault) {
  EXPECT_EQ(render("{{ raise_exception('roles must alternate') }}"),
            "error[E_USAGE] t.jinja: the chat template refuses this conversation: \"roles must "
            "alternate\"");
}

// tests/fixtures/chat_templates/cases.json holds what transformers made of templates in the manners
// of published ones.
TEST(ChatTemplate, RendersAsTransformers) {
  const std::string path =
      std::string(HALFTONE_SOURCE_DIR) + "/tests/fixtures/chat_templates/cases.json";
  const Json root = parse_json(posix_env()->read_text(path, 1 << 20), path);
  ASSERT_GE(root["cases"].size(), 30u);
  for (const Json& c : root["cases"]) {
    const auto name = c["name"].get<std::string>();
    const RenderOptions options{.add_generation_prompt = c["add_generation_prompt"],
                                .variables = c["variables"],
                                .tools = c["tools"]};
    const std::string text = render(c["template"], options, c["messages"]);
    if (c.contains("refused")) {
      EXPECT_EQ(text, "error[E_USAGE] t.jinja: the chat template refuses this conversation: " +
                          quote(c["refused"].get<std::string>()))
          << name;
    } else {
      EXPECT_EQ(text, c["text"].get<std::string>()) << name;
    }
  }
}

}  // namespace
}  // namespace halftone::text
