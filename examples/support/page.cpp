// SPDX-License-Identifier: MIT
#include "support/page.hpp"

#include "support/format.hpp"

namespace example_support {

namespace {

constexpr const char* kStyle = R"(
:root { color-scheme: light dark; --paper: #ffffff; --ink: #1d2330; --soft: #5d6676; --line: #e3e6eb;
  --before: #9aa5b8; --after: #2f6fdb; --other: #d98324; --card: #f6f7f9; }
@media (prefers-color-scheme: dark) { :root { --paper: #14171d; --ink: #e6e9ef; --soft: #98a1b2;
  --line: #2b313c; --before: #66718a; --after: #6ea2ff; --other: #eda24f;
  --card: #1b1f27; } }
body { margin: 0; background: var(--paper); color: var(--ink);
  font: 16px/1.5 system-ui, "Segoe UI", "DejaVu Sans", sans-serif; }
main { max-width: 780px; margin: 0 auto; padding: 32px 20px 64px; }
h1 { font-size: 1.8rem; line-height: 1.2; margin: 0 0 4px; }
h2 { font-size: 1.15rem; margin: 36px 0 8px; }
h3 { font-size: 1rem; margin: 20px 0 4px; }
p { margin: 8px 0; }
.soft, figcaption { color: var(--soft); font-size: .9rem; }
.verdict { background: var(--card); border-left: 4px solid var(--after); padding: 12px 16px;
  border-radius: 4px; margin: 20px 0; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { padding: 4px 10px; text-align: right; border-bottom: 1px solid var(--line); }
th:first-child, td:first-child { text-align: left; }
tr.sum td { font-weight: 600; }
svg { width: 100%; height: auto; }
.key { display: inline-block; width: 12px; height: 12px; border-radius: 2px; margin: 0 6px 0 14px; }
.updates { display: grid; grid-template-columns: repeat(auto-fit, minmax(240px, 1fr)); gap: 16px; }
figure { margin: 12px 0; }
img { max-width: 100%; height: auto; border-radius: 4px; }
.updates img { width: 100%; image-rendering: pixelated; }
)";

}  // namespace

std::string escaped(const std::string& text) {
  std::string out;
  for (const char c : text) {
    switch (c) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '"':
        out += "&quot;";
        break;
      default:
        out += c;
    }
  }
  return out;
}

std::string row(const std::vector<std::string>& cells, const char* tag, const char* css_class) {
  std::string html = std::string("<tr class=\"") + css_class + "\">";
  for (const std::string& cell : cells) {
    html += std::string("<") + tag + ">" + escaped(cell) + "</" + tag + ">";
  }
  return html + "</tr>\n";
}

std::string key(const char* color, const char* name) {
  return format("<span class=\"key\" style=\"background:var(--%s)\"></span>%s", color, name);
}

std::string page(const std::string& title, const std::string& content) {
  return "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\n"
         "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>" +
         escaped(title) + "</title>\n<style>" + kStyle + "</style></head>\n<body><main>\n<h1>" +
         escaped(title) + "</h1>\n" + content + "</main></body></html>\n";
}

}  // namespace example_support
