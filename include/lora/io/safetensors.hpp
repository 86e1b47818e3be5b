// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include <lora/detail/json.hpp>
#include <lora/error.hpp>
#include <lora/io/file.hpp>
#include <lora/io/float_formats.hpp>
#include <lora/tensor.hpp>

// The safetensors format: the length N of the header as 8 bytes, little-endian; the header, JSON;
// then the tensors' bytes without gaps. Written strictly after its README; read with its checks:
// every size is computed without overflow and held against the file.

static_assert(std::endian::native == std::endian::little,
              "safetensors files are little-endian and so must be the processor");

namespace lora::inline v0 {

/// One tensor of a file: where it lies, and what it is.
struct TensorInfo {
  std::string dtype;                 ///< "F32", "BF16", ...
  std::vector<std::uint64_t> shape;  ///< outermost first; empty for a scalar
  std::uint64_t begin = 0, end = 0;  ///< bytes, from the end of the header
};

namespace detail {

struct Dtype {
  std::string_view name;
  std::uint64_t bits;
};

/// In the order of the reference implementation, by which tensors are sorted in a file.
inline constexpr std::array<Dtype, 22> kDtypes{
    {{"BOOL", 8},        {"F4", 4},      {"F6_E2M3", 6}, {"F6_E3M2", 6}, {"U8", 8},
     {"I8", 8},          {"F8_E5M2", 8}, {"F8_E4M3", 8}, {"F8_E8M0", 8}, {"F8_E4M3FNUZ", 8},
     {"F8_E5M2FNUZ", 8}, {"I16", 16},    {"U16", 16},    {"F16", 16},    {"BF16", 16},
     {"I32", 32},        {"U32", 32},    {"F32", 32},    {"C64", 64},    {"F64", 64},
     {"I64", 64},        {"U64", 64}}};

inline const Dtype* find_dtype(std::string_view name) {
  const auto found = std::find_if(kDtypes.begin(), kDtypes.end(),
                                  [&](const Dtype& dtype) { return dtype.name == name; });
  return found == kDtypes.end() ? nullptr : &*found;
}

template <class T>
constexpr std::string_view dtype_of() {
  if constexpr (std::is_same_v<T, float>) return "F32";
  if constexpr (std::is_same_v<T, double>) return "F64";
  if constexpr (std::is_same_v<T, std::uint8_t>) return "U8";
  if constexpr (std::is_same_v<T, std::int32_t>) return "I32";
  if constexpr (std::is_same_v<T, std::int64_t>) return "I64";
}

/// Whether read_as() can read it.
inline bool is_floating_point(std::string_view dtype) {
  return dtype == "F64" || dtype == "F32" || dtype == "F16" || dtype == "BF16";
}

/// The elements at `from`, of a floating-point dtype and not aligned, as Ts.
template <class T>
void convert_elements(std::string_view dtype, std::span<const std::byte> from, std::span<T> to) {
  const auto convert = [&]<class Stored>(Stored, auto decode) {
    for (std::size_t i = 0; i < to.size(); ++i) {
      Stored stored;
      std::memcpy(&stored, from.data() + i * sizeof(Stored), sizeof(Stored));
      to[i] = static_cast<T>(decode(stored));
    }
  };
  const auto as_it_is = [](auto value) { return value; };
  if (dtype == "F64") convert(double{}, as_it_is);
  if (dtype == "F32") convert(float{}, as_it_is);
  if (dtype == "F16") convert(std::uint16_t{}, f16_to_float);
  if (dtype == "BF16") convert(std::uint16_t{}, bf16_to_float);
}

inline std::string to_string(const std::vector<std::uint64_t>& shape) {
  std::string text = "[";
  for (const std::uint64_t size : shape) {
    if (text.size() > 1) text += ',';
    text += std::to_string(size);
  }
  return text + "]";
}

}  // namespace detail

/// A safetensors file, its header read and checked. Tensors are read from the disk when asked for.
class SafetensorsFile {
 public:
  /// A longer header is refused; real ones have some hundred bytes a tensor.
  static constexpr std::uint64_t kMaxHeader = std::uint64_t{16} << 20;

  /// A tensor of more sizes is refused: PyTorch has at most 64.
  static constexpr std::size_t kMaxRank = 64;

  /// More tensors, or more entries of metadata, are refused: in memory an entry takes a dozen times
  /// what its text does. Real files have some thousand.
  static constexpr std::size_t kMaxEntries = 65536;

  /// Throws FileError on anything but a whole, valid file.
  explicit SafetensorsFile(std::string path)
      : path_(std::move(path)), file_(path_), mapped_(file_.map()) {
    const std::uint64_t size = file_.size();
    if (size < 8) fail("expected a safetensors file, found " + std::to_string(size) + " bytes");
    std::uint64_t length = 0;
    file_.read_at(0, std::as_writable_bytes(std::span(&length, 1)));
    if (length > kMaxHeader) {
      fail("the header is " + std::to_string(length) + " bytes long, expected at most " +
           std::to_string(kMaxHeader));
    }
    if (length > size - 8) {
      fail("the header is " + std::to_string(length) + " bytes long, the file has " +
           std::to_string(size));
    }
    std::string header(length, '\0');
    file_.read_at(8, std::as_writable_bytes(std::span(header)));
    data_ = 8 + length;
    parse(header);
    check_layout(size - data_);
  }

  const std::string& path() const noexcept { return path_; }
  const std::map<std::string, TensorInfo>& tensors() const noexcept { return tensors_; }
  const std::map<std::string, std::string>& metadata() const noexcept { return metadata_; }

  /// What the file says of the tensor of that name. Throws FileError when there is none.
  const TensorInfo& info(const std::string& name) const {
    const auto found = tensors_.find(name);
    if (found == tensors_.end()) fail("there is no tensor \"" + name + "\"");
    return found->second;
  }

  /// The tensor's bytes as they lie in the file, mapped and not aligned, while the SafetensorsFile
  /// lives. Throws FileError when there is none of that name.
  std::span<const std::byte> bytes(const std::string& name) const {
    const TensorInfo& tensor = info(name);
    return mapped_.span().subspan(data_ + tensor.begin, tensor.end - tensor.begin);
  }

  /// Everything before the first tensor's bytes: the length of the header, and it.
  std::span<const std::byte> header() const { return mapped_.span().first(data_); }

  /// All of the file; a tensor's `begin` counts from the end of header() on.
  std::span<const std::byte> contents() const noexcept { return mapped_.span(); }

  /// The tensor of that name. Throws FileError when there is none, or when its type is not T.
  template <class T>
  Tensor<T> read(const std::string& name) const {
    const TensorInfo& tensor = info(name);
    if (tensor.dtype != detail::dtype_of<T>()) {
      fail("tensor \"" + name + "\" is " + tensor.dtype + ", expected " +
           std::string(detail::dtype_of<T>()));
    }
    Tensor<T> read = empty_tensor<T>(name);
    file_.read_at(data_ + tensor.begin, std::as_writable_bytes(read.span()));
    return read;
  }

  /// The tensor of that name, of F64, F32, F16 or BF16, as Ts: float or double. Throws FileError
  /// when there is none, or when it is of another type.
  template <class T>
  Tensor<T> read_as(const std::string& name) const {
    const TensorInfo& tensor = info(name);
    if (!detail::is_floating_point(tensor.dtype)) {
      fail("tensor \"" + name + "\" is " + tensor.dtype + ", expected F64, F32, F16 or BF16");
    }
    if (tensor.dtype == detail::dtype_of<T>()) return read<T>(name);
    std::vector<std::byte> stored(tensor.end - tensor.begin);
    file_.read_at(data_ + tensor.begin, stored);
    Tensor<T> read = empty_tensor<T>(name);
    detail::convert_elements(tensor.dtype, std::span<const std::byte>(stored), read.span());
    return read;
  }

 private:
  template <class T>
  Tensor<T> empty_tensor(const std::string& name) const {
    const TensorInfo& tensor = info(name);
    if (tensor.shape.size() > Shape::kMaxRank) {
      fail("tensor \"" + name + "\" has shape " + detail::to_string(tensor.shape) +
           ", expected at most 4 sizes");
    }
    const std::vector<index_t> sizes(tensor.shape.begin(), tensor.shape.end());
    Tensor<T> empty;
    empty.resize(Shape(sizes.begin(), sizes.end()));
    return empty;
  }

  [[noreturn]] void fail(const std::string& what) const { throw FileError(path_ + ": " + what); }

  void parse(const std::string& header) {
    if (header.empty() || header[0] != '{') fail("the header does not begin with '{'");
    detail::JsonReader json(header, path_);
    bool has_metadata = false;
    json.list('{', '}', [&] {
      const std::string key = json.string();
      json.expect(':');
      if (key == "__metadata__") {
        if (std::exchange(has_metadata, true)) json.fail("a second __metadata__");
        json.list('{', '}', [&] {
          std::string entry = json.string();
          json.expect(':');
          if (!metadata_.emplace(entry, json.string()).second) json.fail("\"" + entry + "\" twice");
          require_few(metadata_.size(), json);
        });
      } else if (!tensors_.emplace(key, parse_tensor(json)).second) {
        json.fail("tensor \"" + key + "\" twice");
      }
      require_few(tensors_.size(), json);
    });
    json.expect_end();
  }

  static void require_few(std::size_t entries, const detail::JsonReader& json) {
    if (entries > kMaxEntries) {
      json.fail("expected at most " + std::to_string(kMaxEntries) + " entries, found more");
    }
  }

  static TensorInfo parse_tensor(detail::JsonReader& json) {
    TensorInfo info;
    bool has_dtype = false, has_shape = false, has_offsets = false;
    json.list('{', '}', [&] {
      const std::string field = json.string();
      json.expect(':');
      if (field == "dtype" && !std::exchange(has_dtype, true)) {
        info.dtype = json.string();
        if (!detail::find_dtype(info.dtype)) {
          json.fail("the unknown dtype \"" + info.dtype.substr(0, 16) + "\"");
        }
      } else if (field == "shape" && !std::exchange(has_shape, true)) {
        json.list('[', ']', [&] {
          if (info.shape.size() == kMaxRank) {
            json.fail("a tensor of more than " + std::to_string(kMaxRank) + " sizes");
          }
          info.shape.push_back(json.number());
        });
      } else if (field == "data_offsets" && !std::exchange(has_offsets, true)) {
        json.expect('[');
        info.begin = json.number();
        json.expect(',');
        info.end = json.number();
        json.expect(']');
      } else {
        json.fail("the unexpected field \"" + field + "\"");
      }
    });
    if (!has_dtype || !has_shape || !has_offsets) {
      json.fail("a tensor without dtype, shape or data_offsets");
    }
    return info;
  }

  // Every tensor has the bytes its shape asks for, and together they fill the file without gaps.
  void check_layout(std::uint64_t data_bytes) const {
    std::vector<std::pair<const std::string, TensorInfo> const*> in_order;
    for (const auto& named : tensors_) {
      const auto& [name, info] = named;
      const detail::Dtype* dtype = detail::find_dtype(info.dtype);
      std::uint64_t bits = dtype->bits;
      for (const std::uint64_t size : info.shape) {
        const bool fits_index = size <= std::uint64_t{std::numeric_limits<index_t>::max()};
        if (!fits_index || (size != 0 && bits > std::numeric_limits<std::uint64_t>::max() / size)) {
          fail("tensor \"" + name + "\" has the impossible shape " + detail::to_string(info.shape));
        }
        bits *= size;
      }
      if (info.begin > info.end || bits % 8 != 0 || info.end - info.begin != bits / 8) {
        fail("tensor \"" + name + "\", " + info.dtype + " " + detail::to_string(info.shape) +
             ", does not fit its offsets " + std::to_string(info.begin) + " to " +
             std::to_string(info.end));
      }
      in_order.push_back(&named);
    }
    std::sort(in_order.begin(), in_order.end(), [](const auto* a, const auto* b) {
      return std::pair(a->second.begin, a->second.end) < std::pair(b->second.begin, b->second.end);
    });
    std::uint64_t expected = 0;
    for (const auto* named : in_order) {
      if (named->second.begin != expected) {
        fail("tensor \"" + named->first + "\" begins at byte " +
             std::to_string(named->second.begin) + ", expected " + std::to_string(expected));
      }
      expected = named->second.end;
    }
    if (expected != data_bytes) {
      fail("the tensors take " + std::to_string(expected) + " bytes, the file has " +
           std::to_string(data_bytes) + " for them");
    }
  }

  std::string path_;
  InputFile file_;
  MappedBytes mapped_;
  std::uint64_t data_ = 0;
  std::map<std::string, TensorInfo> tensors_;
  std::map<std::string, std::string> metadata_;
};

/// A tensor to be written; `data` must live until then.
struct TensorEntry {
  std::string name;
  std::string dtype;
  std::vector<std::uint64_t> shape;
  std::span<const std::byte> data;
};

template <class T>
TensorEntry tensor_entry(std::string name, const Tensor<T>& x) {
  TensorEntry entry{
      std::move(name), std::string(detail::dtype_of<T>()), {}, std::as_bytes(x.span())};
  for (int i = 0; i < x.shape().rank(); ++i) {
    entry.shape.push_back(static_cast<std::uint64_t>(x.dim(i)));
  }
  return entry;
}

/// Writes a safetensors file, atomically. The same tensors give the same bytes: they are ordered by
/// type, largest first, and then by name, as the reference implementation does. Throws FileError,
/// and an old file of that name stays as it was.
inline void write_safetensors(const std::string& path, std::vector<TensorEntry> entries,
                              const std::map<std::string, std::string>& metadata = {}) {
  std::sort(entries.begin(), entries.end(), [](const TensorEntry& a, const TensorEntry& b) {
    const detail::Dtype* da = detail::find_dtype(a.dtype);
    const detail::Dtype* db = detail::find_dtype(b.dtype);
    return da != db ? da > db : a.name < b.name;
  });
  std::string header = "{";
  if (!metadata.empty()) {
    header += "\"__metadata__\":{";
    const char* separator = "";
    for (const auto& [key, value] : metadata) {
      header += separator + detail::json_quoted(key) + ":" + detail::json_quoted(value);
      separator = ",";
    }
    header += "}";
  }
  std::uint64_t offset = 0;
  for (const TensorEntry& entry : entries) {
    if (header.size() > 1) header += ",";
    header += detail::json_quoted(entry.name) + ":{\"dtype\":\"" + entry.dtype +
              "\",\"shape\":" + detail::to_string(entry.shape) + ",\"data_offsets\":[" +
              std::to_string(offset) + "," + std::to_string(offset + entry.data.size()) + "]}";
    offset += entry.data.size();
  }
  header += "}";
  header.resize((header.size() + 7) / 8 * 8, ' ');

  AtomicFile file(path);
  const std::uint64_t length = header.size();
  file.write(std::as_bytes(std::span(&length, 1)));
  file.write(header);
  for (const TensorEntry& entry : entries) file.write(entry.data);
  file.commit();
}

}  // namespace lora::inline v0
