// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

#include <lora/detail/checked_size.hpp>
#include <lora/detail/gguf_cursor.hpp>
#include <lora/detail/gguf_types.hpp>
#include <lora/detail/utf8.hpp>
#include <lora/error.hpp>
#include <lora/io/file.hpp>
#include <lora/io/safetensors.hpp>
#include <lora/tensor.hpp>

// The GGUF format: "GGUF", the version and two counts; the metadata, keys and values; name, sizes,
// type and place of each tensor; then the tensors' bytes, each from a multiple of the alignment on.
// A tensor's sizes stand in the file innermost first; here, as everywhere, outermost first.

namespace lora::inline v0 {

/// A GGUF file, version 2 or 3, little-endian, with its header read and checked: no count and no
/// size is believed before the file has been seen to hold that much. Tensors and arrays are read
/// from the disk when asked for. The tensors have to lie in their order without gaps, as ggml
/// demands it. Names are only names: nothing here takes one for a path.
class GgufFile {
 public:
  /// A longer header is refused; the largest vocabularies have about 16 MiB.
  static constexpr std::uint64_t kMaxHeader = std::uint64_t{32} << 20;
  /// More tensors, or more metadata, are refused; real files have some thousand.
  static constexpr std::uint64_t kMaxCount = 65536;
  /// The format's bounds on the length of a key and of a tensor's name.
  static constexpr std::size_t kMaxKey = 65535, kMaxName = 64;
  static constexpr std::uint64_t kMaxAlignment = 65536;

  /// Throws FileError on anything but a whole, valid file.
  explicit GgufFile(std::string path) : path_(std::move(path)), file_(path_) {
    const std::uint64_t header = std::min(file_.size(), kMaxHeader);
    detail::GgufCursor cursor(file_, path_, 0, header);
    if (cursor.left() < 4 || cursor.number<std::uint32_t>() != kMagic) {
      fail("expected a GGUF file, found other first bytes");
    }
    const auto version = cursor.number<std::uint32_t>();
    if (version != 2 && version != 3) {
      fail("expected GGUF version 2 or 3, little-endian, found " + std::to_string(version));
    }
    const std::uint64_t tensors = count(cursor, "tensors");
    const std::uint64_t pairs = count(cursor, "metadata entries");
    for (std::uint64_t i = 0; i < pairs; ++i) parse_pair(cursor);
    read_alignment();
    for (std::uint64_t i = 0; i < tensors; ++i) parse_tensor(cursor);
    check_layout(cursor.position());
  }

  const std::map<std::string, TensorInfo>& tensors() const noexcept { return tensors_; }
  const std::map<std::string, GgufValue>& metadata() const noexcept { return metadata_; }

  /// The value under that key. Throws FileError when there is none, or when its type is not T.
  template <class T>
  const T& value(const std::string& key) const {
    const auto found = metadata_.find(key);
    if (found == metadata_.end()) fail("there is no metadata \"" + key + "\"");
    const T* value = std::get_if<T>(&found->second);
    if (!value) {
      fail("metadata \"" + key + "\" is " + detail::kGgufValueNames[found->second.index()] +
           ", expected " + detail::kGgufValueNames[detail::gguf_value_type<T>()]);
    }
    return *value;
  }

  /// The elements of the array under that key. Errors are those of value().
  template <class T>
  std::vector<T> array(const std::string& key) const {
    const auto& lies = value<GgufArray>(key);
    if (lies.type != detail::gguf_value_type<T>()) {
      fail("metadata \"" + key + "\" is an array of " + detail::kGgufValueNames[lies.type] +
           ", expected of " + detail::kGgufValueNames[detail::gguf_value_type<T>()]);
    }
    std::vector<T> elements;
    elements.reserve(static_cast<std::size_t>(lies.count));
    detail::GgufCursor cursor(file_, path_, lies.begin, lies.end);
    for (std::uint64_t i = 0; i < lies.count; ++i) elements.push_back(element<T>(cursor));
    return elements;
  }

  /// The tensor of that name. Throws FileError when there is none, or when its type is not T.
  template <class T>
  Tensor<T> read(const std::string& name) const {
    const TensorInfo& info = find(name);
    if (info.dtype != detail::dtype_of<T>()) {
      fail("tensor \"" + name + "\" is " + info.dtype + ", expected " +
           std::string(detail::dtype_of<T>()));
    }
    const std::vector<index_t> sizes(info.shape.begin(), info.shape.end());
    Tensor<T> tensor;
    tensor.resize(Shape(sizes.begin(), sizes.end()));
    file_.read_at(data_ + info.begin, std::as_writable_bytes(tensor.span()));
    return tensor;
  }

  /// The bytes of the tensor of that name, of whatever type. Throws FileError when there is none.
  std::vector<std::byte> read_bytes(const std::string& name) const {
    const TensorInfo& info = find(name);
    std::vector<std::byte> bytes(static_cast<std::size_t>(info.end - info.begin));
    file_.read_at(data_ + info.begin, bytes);
    return bytes;
  }

 private:
  static constexpr std::uint32_t kMagic = 0x46554747;  // "GGUF"

  [[noreturn]] void fail(const std::string& what) const { throw FileError(path_ + ": " + what); }

  const TensorInfo& find(const std::string& name) const {
    const auto found = tensors_.find(name);
    if (found == tensors_.end()) fail("there is no tensor \"" + name + "\"");
    return found->second;
  }

  static std::uint64_t count(detail::GgufCursor& cursor, const std::string& what) {
    const auto count = cursor.number<std::uint64_t>();
    if (count > kMaxCount) {
      cursor.fail("expected at most " + std::to_string(kMaxCount) + " " + what + ", found " +
                  std::to_string(count));
    }
    return count;
  }

  // Most programs that read GGUF keep names as C strings, in which a NUL would hide what follows.
  static std::string name(detail::GgufCursor& cursor, const char* what, std::size_t limit) {
    std::string name = cursor.string();
    if (name.empty() || name.size() > limit || name.find('\0') != name.npos) {
      cursor.fail(std::string("expected a ") + what + " of 1 to " + std::to_string(limit) +
                  " bytes without NUL, found one of " + std::to_string(name.size()) + " bytes");
    }
    return name;
  }

  template <class T>
  static T element(detail::GgufCursor& cursor) {
    if constexpr (std::is_same_v<T, std::string>) {
      return cursor.string();
    } else if constexpr (std::is_same_v<T, bool>) {
      return cursor.boolean();
    } else {
      return cursor.number<T>();
    }
  }

  template <std::size_t Type = 0>
  static GgufValue scalar(detail::GgufCursor& cursor, std::uint32_t type) {
    if constexpr (Type == std::variant_size_v<GgufValue>) {
      cursor.fail("the unknown type " + std::to_string(type) + " of metadata");
    } else if constexpr (std::is_same_v<std::variant_alternative_t<Type, GgufValue>, GgufArray>) {
      return type == Type ? array(cursor) : scalar<Type + 1>(cursor, type);
    } else {
      if (type != Type) return scalar<Type + 1>(cursor, type);
      return element<std::variant_alternative_t<Type, GgufValue>>(cursor);
    }
  }

  // Goes through the elements and keeps none.
  static GgufArray array(detail::GgufCursor& cursor) {
    GgufArray array;
    array.type = cursor.number<std::uint32_t>();
    array.count = cursor.number<std::uint64_t>();
    array.begin = cursor.position();
    constexpr auto kArray = detail::gguf_value_type<GgufArray>();
    constexpr auto kString = detail::gguf_value_type<std::string>();
    constexpr auto kBool = detail::gguf_value_type<bool>();
    if (array.type >= detail::kGgufValueBytes.size() || array.type == kArray) {
      cursor.fail("expected an array of numbers, bools or strings, found type " +
                  std::to_string(array.type));
    }
    if (array.type == kString || array.type == kBool) {
      for (std::uint64_t i = 0; i < array.count; ++i) {
        array.type == kString ? void(cursor.string()) : void(cursor.boolean());
      }
    } else {
      const detail::CheckedSize bytes =
          detail::CheckedSize(array.count) * detail::kGgufValueBytes[array.type];
      if (!bytes.fits(cursor.left())) {
        cursor.fail("an array of " + std::to_string(array.count) + " elements, but only " +
                    std::to_string(cursor.left()) + " bytes of the header left");
      }
      cursor.skip(bytes.value());
    }
    array.end = cursor.position();
    return array;
  }

  void parse_pair(detail::GgufCursor& cursor) {
    const std::string key = name(cursor, "key", kMaxKey);
    const auto type = cursor.number<std::uint32_t>();
    if (!metadata_.emplace(key, scalar(cursor, type)).second) {
      cursor.fail("metadata \"" + key + "\" twice");
    }
  }

  void read_alignment() {
    if (!metadata_.contains("general.alignment")) return;
    alignment_ = value<std::uint32_t>("general.alignment");
    if (alignment_ < 8 || alignment_ > kMaxAlignment || (alignment_ & (alignment_ - 1)) != 0) {
      fail("expected an alignment that is a power of two from 8 to " +
           std::to_string(kMaxAlignment) + ", found " + std::to_string(alignment_));
    }
  }

  void parse_tensor(detail::GgufCursor& cursor) {
    const std::string name = GgufFile::name(cursor, "tensor name", kMaxName);
    const auto rank = cursor.number<std::uint32_t>();
    if (rank > Shape::kMaxRank) {
      cursor.fail("tensor \"" + name + "\" has " + std::to_string(rank) +
                  " sizes, expected at most 4");
    }
    TensorInfo info;
    info.shape.resize(rank);
    for (std::uint32_t i = rank; i-- > 0;) info.shape[i] = cursor.number<std::uint64_t>();
    const auto id = cursor.number<std::uint32_t>();
    const detail::GgufType* type = detail::find_gguf_type(id);
    if (!type) cursor.fail("tensor \"" + name + "\" has the unknown type " + std::to_string(id));
    info.dtype = type->name;
    info.begin = cursor.number<std::uint64_t>();
    const std::string what =
        "tensor \"" + name + "\", " + info.dtype + " " + detail::to_string(info.shape) + ",";
    const detail::CheckedSize bytes = detail::gguf_tensor_bytes(*type, info.shape);
    if (!bytes.fits(file_.size())) cursor.fail(what + " is larger than the file");
    if ((rank > 0 ? info.shape.back() : 1) % type->block != 0) {
      cursor.fail(what + " has rows that are no whole blocks of " + std::to_string(type->block));
    }
    const detail::CheckedSize begin = detail::CheckedSize(data_end_).rounded_up(alignment_);
    const detail::CheckedSize end = begin + bytes;
    if (!end.fits(file_.size())) cursor.fail(what + " ends beyond the file");
    if (info.begin != begin.value()) {
      cursor.fail(what + " begins at byte " + std::to_string(info.begin) +
                  " of the data, expected " + std::to_string(begin.value()));
    }
    info.end = data_end_ = end.value();
    if (!tensors_.emplace(name, std::move(info)).second) {
      cursor.fail("tensor \"" + name + "\" twice");
    }
  }

  // The tensors end with the file, or the zeros that align the end do. ggml writes the latter.
  void check_layout(std::uint64_t header_bytes) {
    const detail::CheckedSize data = detail::CheckedSize(header_bytes).rounded_up(alignment_);
    const detail::CheckedSize end = data + detail::CheckedSize(data_end_);
    const detail::CheckedSize padded = data + detail::CheckedSize(data_end_).rounded_up(alignment_);
    const bool bare = tensors_.empty() && file_.size() == header_bytes;
    if (!bare && file_.size() != end.value() && file_.size() != padded.value()) {
      fail("expected " + std::to_string(end.value()) + " bytes for header and tensors, or " +
           std::to_string(padded.value()) + ", found " + std::to_string(file_.size()));
    }
    data_ = data.value();
  }

  std::string path_;
  InputFile file_;
  std::uint64_t alignment_ = 32;
  std::uint64_t data_ = 0, data_end_ = 0;
  std::map<std::string, GgufValue> metadata_;
  std::map<std::string, TensorInfo> tensors_;
};

namespace detail {

inline void append_number(std::string& out, const auto& value) {
  out.append(reinterpret_cast<const char*>(&value), sizeof(value));
}

inline void append_string(std::string& out, const std::string& text) {
  append_number(out, std::uint64_t{text.size()});
  out += text;
}

/// Throws ValueError unless it is UTF-8 of 1 to `limit` bytes without NUL.
inline void require_gguf_name(const std::string& name, std::size_t limit, const char* what) {
  if (name.empty() || name.size() > limit || name.find('\0') != name.npos || !is_utf8(name)) {
    throw ValueError("write_gguf: expected a " + std::string(what) + " of 1 to " +
                     std::to_string(limit) + " bytes of UTF-8 without NUL, got \"" + name + "\"");
  }
}

inline void append_gguf_pair(std::string& out, const std::string& key, const GgufValue& value) {
  require_gguf_name(key, GgufFile::kMaxKey, "key");
  append_string(out, key);
  append_number(out, static_cast<std::uint32_t>(value.index()));
  std::visit(
      [&](const auto& x) {
        using Value = std::decay_t<decltype(x)>;
        if constexpr (std::is_same_v<Value, GgufArray>) {
          throw ValueError("write_gguf: metadata \"" + key + "\" is an array of another file");
        } else if constexpr (std::is_same_v<Value, std::string>) {
          if (!is_utf8(x)) throw ValueError("write_gguf: metadata \"" + key + "\" is no UTF-8");
          append_string(out, x);
        } else {
          append_number(out, x);
        }
      },
      value);
}

inline void append_gguf_tensor(std::string& out, const TensorEntry& entry, std::uint64_t offset) {
  const std::string what = "write_gguf: tensor \"" + entry.name + "\", " + entry.dtype + " " +
                           to_string(entry.shape) + ",";
  const GgufType* type = find_gguf_type(entry.dtype);
  if (!type) throw ValueError(what + " has a type that GGUF does not know");
  if (entry.shape.size() > Shape::kMaxRank) throw ValueError(what + " has more than 4 sizes");
  const bool blocks = (entry.shape.empty() ? 1 : entry.shape.back()) % type->block == 0;
  const CheckedSize bytes = gguf_tensor_bytes(*type, entry.shape);
  if (!blocks || !bytes.fits() || bytes.value() != entry.data.size()) {
    throw ValueError(what + " does not fit its " + std::to_string(entry.data.size()) + " bytes");
  }
  append_string(out, entry.name);
  append_number(out, static_cast<std::uint32_t>(entry.shape.size()));
  for (auto size = entry.shape.rbegin(); size != entry.shape.rend(); ++size) {
    append_number(out, *size);
  }
  append_number(out, type->id);
  append_number(out, offset);
}

}  // namespace detail

/// Writes a GGUF file, version 3, atomically. The same tensors give the same bytes: they are
/// ordered by name, as the metadata is, and each begins at a multiple of 32. Names have at most 63
/// bytes, for ggml keeps 64 with the end of the string. Throws ValueError on what the format cannot
/// hold, FileError when writing fails, and then an old file of that name stays as it was.
inline void write_gguf(const std::string& path, const std::map<std::string, GgufValue>& metadata,
                       std::vector<TensorEntry> entries) {
  constexpr std::uint64_t kAlignment = 32;
  if (metadata.contains("general.alignment")) {
    throw ValueError("write_gguf: general.alignment is not for the caller to choose");
  }
  std::sort(entries.begin(), entries.end(),
            [](const TensorEntry& a, const TensorEntry& b) { return a.name < b.name; });
  std::string header = "GGUF";
  detail::append_number(header, std::uint32_t{3});
  detail::append_number(header, std::uint64_t{entries.size()});
  detail::append_number(header, std::uint64_t{metadata.size()});
  for (const auto& [key, value] : metadata) detail::append_gguf_pair(header, key, value);
  std::uint64_t offset = 0;
  const std::string* last = nullptr;
  for (const TensorEntry& entry : entries) {
    detail::require_gguf_name(entry.name, GgufFile::kMaxName - 1, "tensor name");
    if (last && *last == entry.name) {
      throw ValueError("write_gguf: tensor \"" + entry.name + "\" twice");
    }
    last = &entry.name;
    detail::append_gguf_tensor(header, entry, offset);
    offset = detail::CheckedSize(offset + entry.data.size()).rounded_up(kAlignment).value();
  }

  if (std::max(entries.size(), metadata.size()) > GgufFile::kMaxCount ||
      header.size() > GgufFile::kMaxHeader) {
    throw ValueError("write_gguf: " + std::to_string(entries.size()) + " tensors and " +
                     std::to_string(metadata.size()) + " metadata entries, a header of " +
                     std::to_string(header.size()) + " bytes, are more than GgufFile reads");
  }

  const auto padding = [](std::uint64_t size) { return std::string(-size % kAlignment, '\0'); };
  AtomicFile file(path);
  file.write(header + padding(header.size()));
  for (const TensorEntry& entry : entries) {
    file.write(entry.data);
    file.write(padding(entry.data.size()));
  }
  file.commit();
}

}  // namespace lora::inline v0
