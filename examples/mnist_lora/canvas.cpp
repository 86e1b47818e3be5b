// SPDX-License-Identifier: MIT
#include "mnist_lora/canvas.hpp"

#include <algorithm>
#include <cstddef>
#include <string_view>

#include <lora/error.hpp>

#if defined(__GNUC__)
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wconversion"
#pragma GCC diagnostic ignored "-Wsign-conversion"
#pragma GCC diagnostic ignored "-Wunused-function"
#pragma GCC diagnostic ignored "-Wmissing-field-initializers"
#endif
#define STB_IMAGE_WRITE_IMPLEMENTATION
#define STB_IMAGE_WRITE_STATIC
#include <stb_image_write.h>
#if defined(__GNUC__)
#pragma GCC diagnostic pop
#endif

namespace mnist_lora {

namespace {

// 3 by 5 dots: an octal digit a row, its three bits from left to right.
constexpr std::string_view kCharacters = "0123456789abcdefghijklmnopqrstuvwxyz.-_+%";
constexpr int kGlyphs[] = {075557, 026227, 071747, 071717, 055711, 074717, 074757, 071122, 075757,
                           075717, 025755, 065656, 034443, 065556, 074647, 074644, 034553, 055755,
                           072227, 011152, 055655, 044447, 057755, 065555, 025552, 065644, 025563,
                           065655, 034216, 072222, 055557, 055552, 055775, 055255, 055222, 071247,
                           000002, 000700, 000007, 002720, 051245};
static_assert(std::size(kGlyphs) == kCharacters.size());

int glyph(char c) {
  if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  const std::size_t at = kCharacters.find(c);
  return at == kCharacters.npos ? 0 : kGlyphs[at];
}

}  // namespace

Picture blank(const std::string& name, const std::string& caption, int width, int height,
              Color paper) {
  Picture picture{name, caption, width, height, {}};
  picture.rgb.resize(3 * static_cast<std::size_t>(width * height));
  fill_rectangle(picture, 0, 0, width, height, paper);
  return picture;
}

void set_pixel(Picture& picture, int x, int y, Color color) {
  std::uint8_t* pixel = &picture.rgb[3 * static_cast<std::size_t>(y * picture.width + x)];
  pixel[0] = color.r;
  pixel[1] = color.g;
  pixel[2] = color.b;
}

void fill_rectangle(Picture& picture, int left, int top, int width, int height, Color color) {
  const int right = std::min(left + width, picture.width);
  const int bottom = std::min(top + height, picture.height);
  for (int y = std::max(top, 0); y < bottom; ++y) {
    for (int x = std::max(left, 0); x < right; ++x) set_pixel(picture, x, y, color);
  }
}

void write_text(Picture& picture, const std::string& text, int left, int top, int scale,
                Color color) {
  for (const char c : text) {
    for (int dot = 0; dot < 15; ++dot) {
      if (!(glyph(c) >> (14 - dot) & 1)) continue;
      fill_rectangle(picture, left + dot % 3 * scale, top + dot / 3 * scale, scale, scale, color);
    }
    left += 4 * scale;
  }
}

int text_width(const std::string& text, int scale) {
  return text.empty() ? 0 : (static_cast<int>(text.size()) * 4 - 1) * scale;
}

std::vector<std::uint8_t> encode_png(const Picture& picture) {
  std::vector<std::uint8_t> png;
  const auto append = [](void* context, void* data, int size) {
    const auto* bytes = static_cast<const std::uint8_t*>(data);
    auto& to = *static_cast<std::vector<std::uint8_t>*>(context);
    to.insert(to.end(), bytes, bytes + size);
  };
  if (stbi_write_png_to_func(append, &png, picture.width, picture.height, 3, picture.rgb.data(),
                             3 * picture.width) == 0) {
    throw lora::Error(picture.name + ": the picture cannot be encoded");
  }
  return png;
}

}  // namespace mnist_lora
