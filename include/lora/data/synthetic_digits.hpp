// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <span>
#include <vector>

#include <lora/data/labeled_images.hpp>
#include <lora/data/mnist.hpp>
#include <lora/detail/thread_pool.hpp>
#include <lora/random.hpp>

namespace lora::inline v0 {

namespace detail {

struct Point {
  float x, y;
};

/// A smooth line through its points; a corner is where one stroke ends and the next begins.
using Stroke = std::vector<Point>;
using Glyph = std::vector<Stroke>;

/// The ways people write each digit, x to the right and y down, both from 0 to 1.
inline const std::array<std::vector<Glyph>, 10>& digit_glyphs() {
  static const std::array<std::vector<Glyph>, 10> glyphs{{
      {{{{.5f, .02f},
         {.2f, .2f},
         {.12f, .5f},
         {.2f, .8f},
         {.5f, .98f},
         {.8f, .8f},
         {.88f, .5f},
         {.8f, .2f},
         {.48f, .0f}}},
       {{{.62f, .03f},
         {.28f, .15f},
         {.14f, .55f},
         {.35f, .95f},
         {.7f, .88f},
         {.86f, .5f},
         {.75f, .12f},
         {.4f, .05f}}}},
      {{{{.5f, .0f}, {.5f, .5f}, {.5f, 1.f}}},
       {{{.3f, .24f}, {.54f, .0f}}, {{.54f, .0f}, {.53f, .5f}, {.52f, 1.f}}},
       {{{.28f, .2f}, {.52f, .02f}}, {{.52f, .02f}, {.52f, .98f}}, {{.25f, 1.f}, {.8f, .97f}}}},
      {{{{.15f, .25f},
         {.3f, .05f},
         {.62f, .02f},
         {.82f, .2f},
         {.72f, .48f},
         {.42f, .75f},
         {.12f, .98f}},
        {{.12f, .98f}, {.5f, .95f}, {.9f, .97f}}},
       {{{.2f, .18f},
         {.5f, .0f},
         {.8f, .18f},
         {.66f, .52f},
         {.3f, .88f},
         {.14f, .9f},
         {.22f, .74f},
         {.5f, .88f},
         {.92f, .95f}}}},
      {{{{.18f, .12f}, {.5f, .0f}, {.8f, .15f}, {.72f, .38f}, {.42f, .48f}},
        {{.42f, .48f}, {.78f, .56f}, {.86f, .8f}, {.55f, 1.f}, {.14f, .88f}}},
       {{{.15f, .04f}, {.8f, .04f}},
        {{.8f, .04f}, {.45f, .42f}},
        {{.45f, .42f}, {.82f, .52f}, {.84f, .82f}, {.5f, .99f}, {.15f, .9f}}}},
      {{{{.34f, .02f}, {.22f, .3f}, {.12f, .56f}},
        {{.12f, .56f}, {.5f, .53f}, {.9f, .52f}},
        {{.7f, .15f}, {.67f, .55f}, {.63f, 1.f}}},
       {{{.66f, .0f}, {.35f, .32f}, {.08f, .64f}},
        {{.08f, .64f}, {.92f, .62f}},
        {{.66f, .0f}, {.66f, .5f}, {.66f, 1.f}}},
       {{{.2f, .05f}, {.16f, .4f}, {.4f, .52f}, {.78f, .42f}},
        {{.8f, .02f}, {.76f, .5f}, {.72f, 1.f}}}},
      {{{{.82f, .02f}, {.25f, .04f}},
        {{.25f, .04f}, {.2f, .45f}},
        {{.2f, .45f}, {.55f, .38f}, {.85f, .6f}, {.72f, .9f}, {.35f, 1.f}, {.12f, .88f}}},
       {{{.9f, .05f},
         {.4f, .03f},
         {.28f, .22f},
         {.3f, .42f},
         {.66f, .52f},
         {.8f, .76f},
         {.55f, .98f},
         {.15f, .95f}}}},
      {{{{.7f, .02f},
         {.35f, .25f},
         {.16f, .6f},
         {.25f, .92f},
         {.56f, 1.f},
         {.82f, .82f},
         {.74f, .58f},
         {.45f, .52f},
         {.18f, .72f}}},
       {{{.35f, .0f},
         {.2f, .4f},
         {.18f, .8f},
         {.48f, 1.f},
         {.8f, .86f},
         {.76f, .62f},
         {.46f, .58f},
         {.2f, .78f}}}},
      {{{{.1f, .05f}, {.88f, .04f}}, {{.88f, .04f}, {.6f, .45f}, {.4f, 1.f}}},
       {{{.12f, .08f}, {.85f, .03f}},
        {{.85f, .03f}, {.6f, .5f}, {.45f, 1.f}},
        {{.32f, .53f}, {.76f, .5f}}},
       {{{.14f, .22f}, {.16f, .05f}, {.86f, .04f}}, {{.86f, .04f}, {.66f, .4f}, {.55f, 1.f}}}},
      {{{{.5f, .0f},
         {.2f, .18f},
         {.35f, .42f},
         {.7f, .6f},
         {.85f, .82f},
         {.5f, 1.f},
         {.15f, .82f},
         {.3f, .58f},
         {.65f, .42f},
         {.8f, .18f},
         {.5f, .0f}}},
       {{{.5f, .0f}, {.22f, .2f}, {.5f, .45f}, {.78f, .2f}, {.5f, .0f}},
        {{.5f, .45f}, {.16f, .74f}, {.5f, 1.f}, {.84f, .74f}, {.5f, .45f}}}},
      {{{{.82f, .28f},
         {.6f, .5f},
         {.25f, .45f},
         {.18f, .2f},
         {.45f, .0f},
         {.78f, .1f},
         {.82f, .28f}},
        {{.82f, .28f}, {.8f, .65f}, {.62f, 1.f}}},
       {{{.76f, .1f}, {.4f, .02f}, {.18f, .26f}, {.4f, .5f}, {.74f, .3f}},
        {{.78f, .05f}, {.75f, .5f}, {.72f, 1.f}}}},
  }};
  return glyphs;
}

/// Independent random numbers of one image.
class ImageRandom {
 public:
  ImageRandom(std::uint64_t seed, std::uint64_t image)
      : key_{static_cast<std::uint32_t>(seed), static_cast<std::uint32_t>(seed >> 32)},
        image_{static_cast<std::uint32_t>(image), static_cast<std::uint32_t>(image >> 32)} {}

  std::uint32_t bits() {
    if (used_ == 4) {
      words_ = philox4x32_10({block_++, 0, image_[0], image_[1]}, key_);
      used_ = 0;
    }
    return words_[used_++];
  }

  float uniform(float low, float high) {
    return low + (high - low) * static_cast<float>(bits() >> 8) * 0x1p-24f;
  }

  /// About normal: the sum of four uniform numbers, brought to the deviation asked for.
  float wobble(float deviation) {
    float sum = -2;
    for (int i = 0; i < 4; ++i) sum += uniform(0, 1);
    return sum * 1.7320508f * deviation;
  }

 private:
  std::array<std::uint32_t, 2> key_, image_;
  std::array<std::uint32_t, 4> words_{};
  std::uint32_t block_ = 0;
  std::size_t used_ = 4;
};

/// The point at t in [0, 1] between b and c of the smooth line a, b, c, d.
/// Catmull and Rom, "A class of local interpolating splines", 1974.
inline Point catmull_rom(Point a, Point b, Point c, Point d, float t) {
  const auto at = [t](float p, float q, float r, float s) {
    return q + 0.5f * t * (r - p + t * (2 * p - 5 * q + 4 * r - s + t * (3 * (q - r) + s - p)));
  };
  return {at(a.x, b.x, c.x, d.x), at(a.y, b.y, c.y, d.y)};
}

/// Draws the line from a to b, of the given half width in pixels, over what is there.
inline void draw_segment(Point a, Point b, float half_width, float ink,
                         std::span<float, 28 * 28> image) {
  const float reach = half_width + 0.5f;
  const auto first = [&](float x) { return std::clamp(static_cast<int>(x - reach), 0, 27); };
  const auto last = [&](float x) { return std::clamp(static_cast<int>(x + reach + 1), 0, 27); };
  const float dx = b.x - a.x;
  const float dy = b.y - a.y;
  const float per_length2 = 1.0f / std::max(dx * dx + dy * dy, 1e-6f);
  for (int y = first(std::min(a.y, b.y)); y <= last(std::max(a.y, b.y)); ++y) {
    for (int x = first(std::min(a.x, b.x)); x <= last(std::max(a.x, b.x)); ++x) {
      const float px = static_cast<float>(x) - a.x;
      const float py = static_cast<float>(y) - a.y;
      const float t = std::clamp((px * dx + py * dy) * per_length2, 0.0f, 1.0f);
      const float distance = std::hypot(px - t * dx, py - t * dy);
      const float covered = std::clamp(reach - distance, 0.0f, 1.0f) * ink;
      float& pixel = image[static_cast<std::size_t>(y * 28 + x)];
      pixel = std::max(pixel, covered);
    }
  }
}

/// One digit as a hand might write it: turned, slanted, stretched, moved, each point a little off,
/// with a pen of some width, on paper that is not quite clean.
inline void draw_digit(int digit, ImageRandom& random, std::span<std::uint8_t, 28 * 28> image) {
  const std::vector<Glyph>& ways = digit_glyphs()[static_cast<std::size_t>(digit)];
  const Glyph& glyph = ways[random.bits() % ways.size()];
  const float angle = random.wobble(0.16f);
  const float slant = random.wobble(0.22f);
  const float width = random.uniform(10, 18) * (digit == 1 ? 0.8f : 1.0f);
  const float height = random.uniform(15, 21);
  const Point centre{13.5f + random.wobble(1.1f), 13.5f + random.wobble(1.1f)};
  const float half_width = random.uniform(0.7f, 1.8f);
  const float ink = random.uniform(200, 255);
  const float cosine = std::cos(angle);
  const float sine = std::sin(angle);

  std::array<float, 28 * 28> canvas{};
  Stroke line;
  for (const Stroke& stroke : glyph) {
    line.clear();
    for (const Point& point : stroke) {
      const float y = (point.y - 0.5f + random.wobble(0.055f)) * height;
      const float x = (point.x - 0.5f + random.wobble(0.055f)) * width - slant * y;
      line.push_back({centre.x + cosine * x - sine * y, centre.y + sine * x + cosine * y});
    }
    constexpr int kPieces = 5;
    for (std::size_t i = 0; i + 1 < line.size(); ++i) {
      const Point before = line[i == 0 ? 0 : i - 1];
      const Point after = line[std::min(i + 2, line.size() - 1)];
      Point from = line[i];
      for (int piece = 1; piece <= kPieces; ++piece) {
        const float t = static_cast<float>(piece) / kPieces;
        const Point to = catmull_rom(before, line[i], line[i + 1], after, t);
        draw_segment(from, to, half_width, ink, canvas);
        from = to;
      }
    }
  }
  // The noise of a scan: on every pixel where there is ink, on few where there is none.
  for (std::size_t i = 0; i < canvas.size(); ++i) {
    const float noise = static_cast<float>(random.bits() >> 8) * 0x1p-24f;
    const float speck = noise > 0.985f ? (noise - 0.985f) * 8000 : 0;
    image[i] = static_cast<std::uint8_t>(
        std::clamp(canvas[i] * (0.8f + 0.2f * noise) + speck, 0.0f, 255.0f));
  }
}

}  // namespace detail

/// Handwriting-like digits, drawn by the library itself: each is a few strokes, randomly turned,
/// slanted, stretched, moved and bent, with a pen of random width and with noise. For trying things
/// out where MNIST is not at hand; of its size and form, and about as hard for a small network.
/// The same images for the same seed and any number of threads.
inline Mnist synthetic_digits(std::uint64_t seed = 0, index_t train = 60000, index_t test = 10000) {
  const auto draw = [seed](index_t count, index_t first) {
    LabeledImages set{Tensor<std::uint8_t>({count, 28 * 28}), Tensor<std::int32_t>({count})};
    detail::parallel_for(count, 64, [&](index_t begin, index_t end) {
      for (index_t i = begin; i < end; ++i) {
        detail::ImageRandom random(seed, static_cast<std::uint64_t>(first + i));
        const int digit = static_cast<int>(random.bits() % 10);
        set.labels[i] = digit;
        detail::draw_digit(digit, random,
                           std::span<std::uint8_t, 28 * 28>(set.images.data() + i * 784, 784));
      }
    });
    return set;
  };
  // The test images have numbers of their own, so they do not change with the size of the other
  // set.
  constexpr index_t kFirstTest = index_t{1} << 40;
  return {draw(train, 0), draw(test, kFirstTest), "synthetic digits"};
}

}  // namespace lora::inline v0
