// Templates that mean harm, or were damaged: each ends with one line and the right code, and the
// process is as before.
#include <gtest/gtest.h>

#include <chrono>

#include "halftone/text/chat_template.h"
#include "halftone/text/load.h"
#include "halftone/text/sandbox.h"
#include "halftone/text/test_text.h"

namespace halftone::text {
namespace {

std::string render(const std::string& source) {
  try {
    return ChatTemplate::from_source(source, "t.jinja")
        .render(Json::array({message("user", "hi")}));
  } catch (const Error& e) {
    return e.line();
  }
}
std::string repeat(const std::string& text, int n) {
  std::string out;
  for (int i = 0; i < n; ++i) out += text;
  return out;
}
const std::string kBudget = "error[E_BUDGET] t.jinja: the chat template needs ";

TEST(HostileTemplate, AttributesOfTheLanguageAreNotThere) {
  EXPECT_EQ(render("[{{ ''.__class__ }}{{ messages.__globals__ }}]"), "[]");
  EXPECT_EQ(render("{{ ''.__class__.__mro__ }}").substr(0, 58),
            "error[E_VALUE] t.jinja: the chat template failed: \"undefin");
  EXPECT_EQ(render("{{ cycler.__init__.__globals__.os }}").substr(0, 23),
            "error[E_VALUE] t.jinja:");
}

TEST(HostileTemplate, NothingIsRead) {
  EXPECT_EQ(render("{% include '/etc/passwd' %}").substr(0, 65),
            "error[E_VALUE] t.jinja: the chat template failed: \"template not f");
  EXPECT_EQ(render("{% import '/etc/passwd' as x %}").substr(0, 65),
            "error[E_VALUE] t.jinja: the chat template failed: \"template not f");
  EXPECT_EQ(render("{% extends 'x' %}").substr(0, 65),
            "error[E_VALUE] t.jinja: the chat template failed: \"template not f");
}

TEST(HostileTemplate, StepsAreCounted) {
  EXPECT_EQ(render("{% for i in range(1000000000) %}{% endfor %}").substr(0, 23),
            "error[E_VALUE] t.jinja:");
  const std::string loop = "{% for i in range(9999) %}", end = "{% endfor %}";
  const std::string line = render(loop + loop + loop + end + end + end);
  EXPECT_TRUE(line == kBudget + "more than 1000000 steps; use another template, or none" ||
              line == kBudget + "more than 200 ms; use another template, or none")
      << line;
}

TEST(HostileTemplate, MemoryIsBounded) {
  EXPECT_EQ(render("{{ 'a' * 10000000000 }}").substr(0, 23), "error[E_VALUE] t.jinja:");
  const std::string grown = render("{% set s = 'aaaaaaaaaaaaaaaa' %}" +
                                   repeat("{% set s = s ~ s %}", 60) + "{{ s | length }}");
  EXPECT_TRUE(grown.starts_with(kBudget + "more memory than 256 MiB") ||
              grown.starts_with(kBudget + "more than 200 ms"))
      << grown;
  const std::string captured = render("{% set s %}" + repeat("a", 1000) + "{% endset %}" +
                                      repeat("{% set s %}{{ s }}{{ s }}{% endset %}", 60));
  EXPECT_TRUE(captured.starts_with(kBudget)) << captured;
  const std::string replaced = render(
      "{{ ('a' * 10000) | replace('a', 'a' * 10000) | replace('a', 'a' * 10000) | length }}");
  EXPECT_TRUE(replaced.starts_with(kBudget)) << replaced;
}

TEST(HostileTemplate, OutputIsBounded) {
  EXPECT_EQ(render("{{ 'a' * 5000000 }}"),
            kBudget + "the output is longer than 4194304 bytes; use another template, or none");
  EXPECT_EQ(render("{{ 'a' * 4194304 }}").size(), 4194304u);
}

TEST(HostileTemplate, TimeIsBounded) {
  const auto start = std::chrono::steady_clock::now();
  const std::string line = render(
      "{% set s = 'a' * 9000000 %}{% for i in range(9999) %}{% if s.find('b') > 0 %}{% endif %}{% "
      "endfor %}");
  EXPECT_EQ(line, kBudget + "more than 200 ms; use another template, or none");
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(30));
}

TEST(HostileTemplate, NestingIsBounded) {
  EXPECT_EQ(
      render("{{ " + repeat("(", 60000) + "1" + repeat(")", 60000) + " }}"),
      "error[E_DEPTH] t.jinja: brackets of the template are nested deeper than 100 (at byte 0)");
  EXPECT_EQ(
      render(repeat("{% if true %}", 20000) + repeat("{% endif %}", 20000)),
      "error[E_DEPTH] t.jinja: blocks of the template are nested deeper than 100 (at byte 1300)");
  EXPECT_EQ(render("{% if a %}" + repeat("{% elif a %}", 20000) + "{% endif %}").substr(0, 24),
            "error[E_DEPTH] t.jinja: ");
  EXPECT_EQ(render(repeat("{% if true %}{% endif %}", 20000)), "");
  // Depth without brackets: refused by the engine, or the child runs out of stack.
  for (const std::string& deep :
       {"{{ " + repeat("not ", 60000) + "1 }}", "{{ " + repeat("-", 60000) + "1 }}",
        "{{ 1" + repeat("+1", 60000) + " }}", "{{ 'a'" + repeat("|upper", 60000) + " }}",
        "{{ a" + repeat(".b", 60000) + " }}", "{{ 1" + repeat("**1", 60000) + " }}",
        "{{ " + repeat("1 if 0 else ", 60000) + "1 }}", "{{ a" + repeat("[0]", 60000) + " }}"}) {
    const std::string line = render(deep);
    EXPECT_TRUE(line.starts_with("error[E_VALUE] t.jinja: ") || line.starts_with(kBudget) ||
                line == "60001" || line == "A" || line == "1" || line == "-1" || line == "False")
        << deep.substr(0, 20) << " -> " << quote(line);
  }
  EXPECT_TRUE(render("{% macro f(x) %}{{ f(x) }}{% endmacro %}{{ f(1) }}").starts_with("error[E_"));
}

TEST(HostileTemplate, MistakesAreOneLine) {
  EXPECT_EQ(render("{{ 1 // 0 }}").substr(0, 62),
            "error[E_VALUE] t.jinja: the chat template failed: \"invalid ope");
  EXPECT_EQ(render("{% if true %}").substr(0, 69),
            "error[E_VALUE] t.jinja: the chat template is not usable: \"syntax erro");
  EXPECT_EQ(render("{{ 1 "),
            "error[E_VALUE] t.jinja: a tag of the template never ends (at byte 0)");
  EXPECT_EQ(render("{# 1 "),
            "error[E_VALUE] t.jinja: a comment of the template never ends (at byte 0)");
  EXPECT_EQ(render("{% raw %} "),
            "error[E_VALUE] t.jinja: a raw block of the template never ends (at byte 0)");
  EXPECT_EQ(render("\xFF"), "error[E_UTF8] t.jinja: the chat template is not UTF-8");
  EXPECT_EQ(render(std::string("a\0b", 3)),
            "error[E_VALUE] t.jinja: the chat template holds a NUL byte");
  EXPECT_EQ(render(repeat("a", 2 << 20)),
            "error[E_LIMIT] t.jinja: the chat template is longer than 1048576 bytes");
  EXPECT_EQ(render("{{ nonsense() }}").find('\n'), std::string::npos);
}

TEST(HostileTemplate, MessagesAreChecked) {
  const auto chat = ChatTemplate::from_source("{{ messages[0].content }}", "t.jinja");
  EXPECT_EQ(error_line([&] { chat.render("hi"); }),
            "error[E_USAGE] t.jinja: messages are not a list");
  EXPECT_EQ(error_line([&] { chat.render(Json::array({"hi"})); }),
            "error[E_USAGE] t.jinja: a message is not an object with role and content");
  EXPECT_EQ(error_line([&] { chat.render(Json::array({message("user", "\xFF")})); }),
            "error[E_UTF8] t.jinja: a message is not UTF-8");
  EXPECT_EQ(error_line([&] { chat.render(Json::array({message("user", repeat("a", 17 << 20))})); }),
            "error[E_LIMIT] t.jinja: the messages are longer than 16777216 bytes");
  EXPECT_EQ(chat.render(Json::array({message("user", "{{ 1 + 1 }}")})), "{{ 1 + 1 }}");
}

TEST(Sandbox, SaysHowTheChildEnded) {
  using End = SandboxResult::End;
  const SandboxLimits limits{.processor_ms = 100, .memory_bytes = 64 << 20, .output_bytes = 1000};
  EXPECT_EQ(run_in_sandbox([] { return std::string("fine"); }, limits).output, "fine");
  EXPECT_EQ(run_in_sandbox([] { return std::string(); }, limits).end, End::done);
  EXPECT_EQ(run_in_sandbox([] { return std::string(5000, 'a'); }, limits).end,
            End::too_much_output);
  EXPECT_EQ(run_in_sandbox([]() -> std::string { throw 1; }, limits).end, End::crashed);
  EXPECT_EQ(run_in_sandbox([]() -> std::string { std::abort(); }, limits).end, End::crashed);
  EXPECT_EQ(run_in_sandbox(
                []() -> std::string {
                  for (volatile unsigned i = 0;;) i = i + 1;
                },
                limits)
                .end,
            End::out_of_time);
}

}  // namespace
}  // namespace halftone::text
