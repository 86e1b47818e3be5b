// SPDX-License-Identifier: MIT
#pragma once

#include <string>
#include <vector>

namespace example_support {

/// `text` as HTML that shows it.
std::string escaped(const std::string& text);

/// A row of a table; its cells are escaped.
std::string row(const std::vector<std::string>& cells, const char* tag = "td",
                const char* css_class = "");

/// A square in a colour of the page (before, after, other) and what it stands for.
std::string key(const char* color, const char* name);

/// An HTML page that needs nothing else. `title` is escaped, `content` is HTML.
std::string page(const std::string& title, const std::string& content);

}  // namespace example_support
