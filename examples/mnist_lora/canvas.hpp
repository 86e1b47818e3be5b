// SPDX-License-Identifier: MIT
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace mnist_lora {

struct Color {
  std::uint8_t r, g, b;
};

/// An RGB picture with what to call it.
struct Picture {
  std::string name;     ///< of the file, without its ending
  std::string caption;  ///< one sentence
  int width = 0, height = 0;
  std::vector<std::uint8_t> rgb;
};

Picture blank(const std::string& name, const std::string& caption, int width, int height,
              Color paper);

void set_pixel(Picture& picture, int x, int y, Color color);

/// What of the rectangle lies outside the picture is left out, as with text.
void fill_rectangle(Picture& picture, int left, int top, int width, int height, Color color);

/// Writes digits, letters and a few signs, all 3 by 5 dots of `scale` pixels; other characters are
/// blank.
void write_text(Picture& picture, const std::string& text, int left, int top, int scale,
                Color color);

/// How wide write_text() makes it, in pixels.
int text_width(const std::string& text, int scale);

/// The picture as the bytes of a PNG file.
std::vector<std::uint8_t> encode_png(const Picture& picture);

}  // namespace mnist_lora
