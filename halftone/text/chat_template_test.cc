#include "halftone/text/chat_template.h"

#include <gtest/gtest.h>

#include "halftone/base/error.h"

namespace halftone::text {
namespace {

// What ChatTemplate answers: the text, or the line of the error.
std::string render(const std::string& source, RenderOptions options = {}, Json messages = Json::array({message("user", "hi")})) {
  try {
    return ChatTemplate::from_source(source, "t.jinja").render(messages, options);
  } catch (const Error& e) {
    return e.line();
  }
}

TEST(ChatTemplate, RendersChatMl) {
  const std::string source =
      "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}"
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
  const Json tools = Json::parse(R"([{"name":"f<x>","n":1.0,"big":1e20,"small":1e-7,"list":[1,true,null,"é\u0001"],"e":{},"l":[]}])");
  EXPECT_EQ(render("{{ tools | tojson }}", {.tools = tools}),
            "[{\"name\": \"f<x>\", \"n\": 1.0, \"big\": 1e+20, \"small\": 1e-07, \"list\": [1, true, null, \"é\\u0001\"], \"e\": {}, \"l\": []}]");
  EXPECT_EQ(render("{{ tools[0].list | tojson(indent=2) }}", {.tools = tools}), "[\n  1,\n  true,\n  null,\n  \"é\\u0001\"\n]");
  EXPECT_EQ(render("{{ {'b': 1, 'a': [2]} | tojson(sort_keys=true, separators=(',', ':')) }}"), "{\"a\":[2],\"b\":1}");
}

TEST(ChatTemplate, PythonMethodsWork) {
  EXPECT_EQ(render("{{ ' a b '.strip().split(' ')[-1] }}{% for k, v in {'x': 1}.items() %}{{ k }}={{ v }}{% endfor %}"), "bx=1");
  EXPECT_EQ(render("{{ messages[0]['content'].startswith('h') }}{{ none }}"), "TrueNone");
}

TEST(ChatTemplate, TimeIsLocalAndFormatted) {
  setenv("TZ", "UTC", 1);
  EXPECT_EQ(render("{{ strftime_now('%d %b %Y') }}", {.now = 86400}), "02 Jan 1970");
}

TEST(ChatTemplate, RefusalIsTheCallersFault) {
  EXPECT_EQ(render("{{ raise_exception('roles must alternate') }}"),
            "error[E_USAGE] t.jinja: the chat template refuses this conversation: \"roles must alternate\"");
}

}  // namespace
}  // namespace halftone::text
