#include "sae/pickle.h"

#include "base/error.h"
#include "base/mapped_file.h"
#include "sae/zip_file.h"
#include "text/utf8.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <map>

#include <ATen/Functions.h>
#include <fmt/format.h>

namespace introspect {

namespace {

constexpr size_t kMostMemo = 100'000'000;

// What torch calls its storages, and numpy its types.
const std::map<std::string_view, at::ScalarType> kStorages = {
    {"torch FloatStorage", at::kFloat},       {"torch DoubleStorage", at::kDouble}, {"torch HalfStorage", at::kHalf},
    {"torch BFloat16Storage", at::kBFloat16}, {"torch LongStorage", at::kLong},     {"torch IntStorage", at::kInt},
    {"torch BoolStorage", at::kBool},         {"torch ByteStorage", at::kByte},     {"torch ShortStorage", at::kShort},
    {"torch CharStorage", at::kChar}};
const std::map<std::string_view, at::ScalarType> kNumpyTypes = {
    {"f2", at::kHalf},  {"f4", at::kFloat}, {"f8", at::kDouble}, {"i8", at::kLong}, {"i4", at::kInt},
    {"i2", at::kShort}, {"i1", at::kChar},  {"u1", at::kByte},   {"b1", at::kBool}};

bool is_numpy(std::string_view name, std::string_view part) {
  for (const char* module :
       {"numpy.core.multiarray ", "numpy._core.multiarray ", "numpy.core.numeric ", "numpy._core.numeric ", "numpy "}) {
    if (name == std::string(module) + std::string(part)) return true;
  }
  return false;
}

}  // namespace

// The machine that a pickle is a program for.
class PickleReader {
 public:
  PickleReader(Pickle& pickle, std::string_view bytes, const std::string& label,
               std::function<std::string(const std::string&)> storage)
      : pickle_(pickle), bytes_(bytes), label_(label), storage_(std::move(storage)) {}

  const PickleValue* run();

 private:
  using Value = PickleValue;
  [[noreturn]] void refuse(const std::string& message, std::string_view hint = {}) const {
    fail("pickle", fmt::format("{} (byte {} of {})", message, at_, label_), hint);
  }
  std::string_view take(uint64_t count) {
    if (count > bytes_.size() - at_) refuse(fmt::format("{} bytes are left, expected {}", bytes_.size() - at_, count));
    const std::string_view taken = bytes_.substr(at_, count);
    at_ += count;
    return taken;
  }
  uint64_t number(size_t count) {
    uint64_t value = 0;
    std::memcpy(&value, take(count).data(), count);
    return value;
  }
  std::string_view line() {
    const size_t end = bytes_.find('\n', at_);
    if (end == std::string_view::npos || end - at_ > 512) refuse("a name that does not end");
    const std::string_view taken = take(end - at_);
    take(1);
    return taken;
  }

  Value* make(Value::Kind kind) {
    pickle_.values_.emplace_back();
    pickle_.values_.back().kind = kind;
    return &pickle_.values_.back();
  }
  void push(Value* value) { stack_.push_back(value); }
  void push_number(Value::Kind kind, int64_t value) {
    push(make(kind));
    stack_.back()->number = value;
  }
  void push_text(Value::Kind kind, std::string_view characters) {
    if (kind == Value::text && !text::is_valid_utf8(characters)) refuse("text that is no UTF-8");
    push(make(kind));
    stack_.back()->characters = characters;
  }
  Value* pop() {
    if (stack_.size() <= (marks_.empty() ? 0 : marks_.back())) refuse("nothing is left on the stack");
    Value* value = stack_.back();
    stack_.pop_back();
    return value;
  }
  Value* top(Value::Kind kind, Value::Kind other) {
    if (stack_.size() <= (marks_.empty() ? 0 : marks_.back())) refuse("nothing is left on the stack");
    if (stack_.back()->kind != kind && stack_.back()->kind != other) refuse("a value is put into what is no container");
    return stack_.back();
  }
  std::vector<Value*> to_mark() {
    if (marks_.empty()) refuse("no mark on the stack");
    std::vector<Value*> values(stack_.begin() + static_cast<std::ptrdiff_t>(marks_.back()), stack_.end());
    stack_.resize(marks_.back());
    marks_.pop_back();
    return values;
  }
  void push_tuple(const std::vector<Value*>& items, Value::Kind kind = Value::tuple) {
    Value* value = make(kind);
    value->items.assign(items.begin(), items.end());
    push(value);
  }
  void add_entries(Value* dict, const std::vector<Value*>& values) {
    if (dict->kind != Value::dict || values.size() % 2 != 0) refuse("entries that are no keys and values");
    for (size_t i = 0; i < values.size(); i += 2) dict->entries.emplace_back(values[i], values[i + 1]);
  }
  void memorize(size_t index) {
    if (stack_.empty()) refuse("nothing to remember");
    if (index > kMostMemo || index > 16 * bytes_.size()) refuse(fmt::format("a memo of number {}", index));
    if (index >= memo_.size()) memo_.resize(index + 1, nullptr);
    memo_[index] = stack_.back();
  }
  void recall(size_t index) {
    if (index >= memo_.size() || !memo_[index]) refuse(fmt::format("no memo of number {}", index));
    push(memo_[index]);
  }
  void push_name(std::string_view module, std::string_view name);
  void reduce();
  void build();
  void persistent();
  void step(uint8_t code);

  int64_t integer(const Value* value) const {
    if (value->kind != Value::integer && value->kind != Value::boolean) refuse("a number was expected");
    return value->number;
  }
  std::vector<int64_t> integers(const Value* value) const {
    if (value->kind != Value::tuple && value->kind != Value::list) refuse("a tuple of numbers was expected");
    std::vector<int64_t> numbers;
    for (const Value* item : value->items) numbers.push_back(integer(item));
    if (numbers.size() > 32) refuse("a tensor of more than 32 dimensions");
    return numbers;
  }
  void tensor_of_storage(Value* made, const std::vector<const Value*>& arguments);
  void array_of_bytes(Value* made, std::string_view bytes, at::ScalarType type, std::vector<int64_t> shape,
                      bool fortran);

  Pickle& pickle_;
  std::string_view bytes_;
  const std::string& label_;
  std::function<std::string(const std::string&)> storage_;
  std::map<std::string, Value*> storages_;
  size_t at_ = 0;
  std::vector<Value*> stack_, memo_;
  std::vector<size_t> marks_;
};

const PickleValue* PickleReader::run() {
  while (true) {
    const auto code = static_cast<uint8_t>(take(1)[0]);
    if (code == '.') break;
    step(code);
  }
  if (stack_.size() != 1 || !marks_.empty()) refuse("the pickle does not end with one value");
  return stack_.back();
}

void PickleReader::step(uint8_t code) {
  switch (code) {
    case 0x80:  // PROTO
      if (const uint64_t protocol = number(1); protocol < 2 || protocol > 5) {
        refuse(fmt::format("protocol {}, expected 2 to 5", protocol));
      }
      return;
    case 0x95:  // FRAME
      take(8);
      return;
    case '(':
      marks_.push_back(stack_.size());
      return;
    case '0':
      pop();
      return;
    case '1':
      to_mark();
      return;
    case '2':
      push(pop());
      push(stack_.back());
      return;
    case 'N':
      push(make(Value::none));
      return;
    case 0x88:
    case 0x89:
      push_number(Value::boolean, code == 0x88);
      return;
    case 'K':
      push_number(Value::integer, static_cast<int64_t>(number(1)));
      return;
    case 'M':
      push_number(Value::integer, static_cast<int64_t>(number(2)));
      return;
    case 'J':
      push_number(Value::integer, static_cast<int32_t>(number(4)));
      return;
    case 0x8a: {  // LONG1: two's complement
      const uint64_t count = number(1);
      if (count > 8) refuse("an integer of more than 64 bits");
      uint64_t value = count ? number(count) : 0;
      if (count > 0 && count < 8 && (value >> (8 * count - 1) & 1)) value |= ~uint64_t{0} << (8 * count);
      push_number(Value::integer, static_cast<int64_t>(value));
      return;
    }
    case 'G': {
      const std::string_view stored = take(8);  // big-endian
      uint64_t value = 0;
      for (const char byte : stored) value = value << 8 | static_cast<uint8_t>(byte);
      push(make(Value::real));
      stack_.back()->value = std::bit_cast<double>(value);
      return;
    }
    case 0x8c:
      return push_text(Value::text, take(number(1)));
    case 'X':
      return push_text(Value::text, take(number(4)));
    case 0x8d:
      return push_text(Value::text, take(number(8)));
    case 'C':
    case 'U':
      return push_text(Value::bytes, take(number(1)));
    case 'B':
    case 'T':
      return push_text(Value::bytes, take(number(4)));
    case 0x8e:
    case 0x96:
      return push_text(Value::bytes, take(number(8)));
    case ']':
      push(make(Value::list));
      return;
    case '}':
      push(make(Value::dict));
      return;
    case ')':
      push(make(Value::tuple));
      return;
    case 0x8f:
      push(make(Value::set));
      return;
    case 't':
      return push_tuple(to_mark());
    case 'l':
      return push_tuple(to_mark(), Value::list);
    case 0x91:
      return push_tuple(to_mark(), Value::set);
    case 'd': {
      const std::vector<Value*> values = to_mark();
      push(make(Value::dict));
      return add_entries(stack_.back(), values);
    }
    case 0x85:
    case 0x86:
    case 0x87: {
      std::vector<Value*> items(code - 0x84);
      for (size_t i = items.size(); i-- > 0;) items[i] = pop();
      return push_tuple(items);
    }
    case 'a': {
      const Value* item = pop();
      top(Value::list, Value::list)->items.push_back(item);
      return;
    }
    case 'e':
    case 0x90: {
      const std::vector<Value*> items = to_mark();
      Value* list = top(Value::list, Value::set);
      list->items.insert(list->items.end(), items.begin(), items.end());
      return;
    }
    case 's': {
      Value* value = pop();
      Value* key = pop();
      return add_entries(top(Value::dict, Value::dict), {key, value});
    }
    case 'u': {
      const std::vector<Value*> values = to_mark();
      return add_entries(top(Value::dict, Value::dict), values);
    }
    case 'q':
      return memorize(number(1));
    case 'r':
      return memorize(number(4));
    case 0x94:
      return memorize(memo_.size());
    case 'h':
      return recall(number(1));
    case 'j':
      return recall(number(4));
    case 'c': {
      const std::string_view module = line(), name = line();
      return push_name(module, name);
    }
    case 0x93: {
      const Value* name = pop();
      const Value* module = pop();
      if (name->kind != Value::text || module->kind != Value::text) refuse("a class without a name");
      return push_name(module->characters, name->characters);
    }
    case 'R':
    case 0x81:
      return reduce();
    case 'b':
      return build();
    case 'Q':
      return persistent();
    default:
      refuse(fmt::format("operation 0x{:02x}, which plain data do not need", code));
  }
}

void PickleReader::push_name(std::string_view module, std::string_view name) {
  std::string whole;
  for (const char c : std::string(module) + " " + std::string(name)) whole += c >= ' ' && c <= '~' ? c : '?';
  static const std::vector<std::string> known = {"torch._utils _rebuild_tensor_v2", "torch._utils _rebuild_parameter",
                                                 "collections OrderedDict", "_codecs encode"};
  const bool plain = std::find(known.begin(), known.end(), whole) != known.end() || kStorages.contains(whole) ||
                     is_numpy(whole, "_reconstruct") || is_numpy(whole, "ndarray") || is_numpy(whole, "dtype") ||
                     is_numpy(whole, "scalar") || is_numpy(whole, "_frombuffer");
  if (!plain) {
    std::replace(whole.begin(), whole.end(), ' ', '.');
    refuse(fmt::format("it needs {}, which is no plain data and is not run", whole),
           "save plain lists, dicts, tensors or arrays in Python, or convert the file: docs/PUBLISHED.md");
  }
  pickle_.strings_.push_back(std::move(whole));
  push(make(Value::name));
  stack_.back()->characters = pickle_.strings_.back();
}

void PickleReader::reduce() {
  const Value* arguments = pop();
  const Value* callee = pop();
  if (callee->kind != Value::name || arguments->kind != Value::tuple) refuse("a call of what is no function");
  const std::string_view name = callee->characters;
  const std::vector<const Value*>& given = arguments->items;
  const auto need = [&](size_t count) {
    if (given.size() < count) refuse(fmt::format("{} with {} arguments", name, given.size()));
  };
  if (name == "collections OrderedDict") {
    push(make(Value::dict));
  } else if (name == "torch._utils _rebuild_tensor_v2") {
    need(4);
    Value* made = make(Value::tensor);
    tensor_of_storage(made, given);
    push(made);
  } else if (name == "torch._utils _rebuild_parameter") {
    need(1);
    if (given[0]->kind != Value::tensor) refuse("a parameter that is no tensor");
    push(const_cast<Value*>(given[0]));
  } else if (is_numpy(name, "dtype")) {
    need(1);
    const auto found = given[0]->kind == Value::text ? kNumpyTypes.find(given[0]->characters) : kNumpyTypes.end();
    if (found == kNumpyTypes.end()) {
      refuse(fmt::format("numpy's type '{}', expected numbers",
                         given[0]->kind == Value::text ? given[0]->characters : std::string_view("?")));
    }
    push(make(Value::dtype));
    stack_.back()->scalar = found->second;
  } else if (is_numpy(name, "_reconstruct")) {
    push(make(Value::tensor));  // filled by what follows
  } else if (is_numpy(name, "_frombuffer")) {
    need(4);
    if (given[0]->kind != Value::bytes || given[1]->kind != Value::dtype) refuse("an array without its bytes or type");
    Value* made = make(Value::tensor);
    array_of_bytes(made, given[0]->characters, given[1]->scalar, integers(given[2]), given[3]->characters == "F");
    push(made);
  } else if (is_numpy(name, "scalar")) {
    need(2);
    if (given[0]->kind != Value::dtype || given[1]->kind != Value::bytes) refuse("a number of numpy without its bytes");
    Value array;
    array_of_bytes(&array, given[1]->characters, given[0]->scalar, {}, false);
    const bool whole = at::isIntegralType(given[0]->scalar, true);
    push_number(whole ? Value::integer : Value::real, whole ? array.array.item<int64_t>() : 0);
    if (!whole) stack_.back()->value = array.array.to(at::kDouble).item<double>();
  } else if (name == "_codecs encode") {  // how protocol 2 writes bytes: as text of latin1
    need(1);
    std::string bytes;
    std::string_view rest = given[0]->kind == Value::text ? given[0]->characters : std::string_view();
    while (!rest.empty()) {
      const text::Character letter = text::first_character(rest);
      if (letter.code_point > 255) refuse("bytes above 255");
      bytes += static_cast<char>(letter.code_point);
      rest.remove_prefix(letter.length);
    }
    pickle_.strings_.push_back(std::move(bytes));
    push_text(Value::bytes, pickle_.strings_.back());
  } else {
    refuse(fmt::format("a call of {}", name));
  }
}

// What an object gets after it was made: numpy's arrays and types, attributes of dicts.
void PickleReader::build() {
  const Value* state = pop();
  Value* made = pop();
  push(made);
  if (made->kind == Value::dict) return;  // an OrderedDict's attributes say nothing of its entries
  if (state->kind != Value::tuple) refuse("a state that is no tuple");
  if (made->kind == Value::dtype) {
    if (state->items.size() < 2 || state->items[1]->characters == ">") refuse("big-endian numbers");
    return;
  }
  if (made->kind != Value::tensor || made->array.defined() || state->items.size() < 5) refuse("a state for no array");
  const Value* type = state->items[2];
  const Value* bytes = state->items[4];
  if (type->kind != Value::dtype || bytes->kind != Value::bytes) {
    refuse("an array of objects, expected one of numbers", "in Python: array.astype('float32')");
  }
  array_of_bytes(made, bytes->characters, type->scalar, integers(state->items[1]), integer(state->items[3]) != 0);
}

void PickleReader::array_of_bytes(Value* made, std::string_view bytes, at::ScalarType type, std::vector<int64_t> shape,
                                  bool fortran) {
  uint64_t wanted = c10::elementSize(type);
  for (const int64_t extent : shape) {
    if (extent < 0 || (extent > 0 && wanted > bytes.size() / static_cast<uint64_t>(extent) + 1)) {
      refuse(fmt::format("an array larger than its {} bytes", bytes.size()));
    }
    wanted *= static_cast<uint64_t>(extent);
  }
  if (wanted != bytes.size()) refuse(fmt::format("an array of {} bytes, its shape needs {}", bytes.size(), wanted));
  if (fortran) std::reverse(shape.begin(), shape.end());
  auto* data = const_cast<char*>(bytes.data());
  const auto options = at::TensorOptions().dtype(type);
  // numbers that are not aligned are copied, others viewed
  const bool aligned = reinterpret_cast<uintptr_t>(data) % c10::elementSize(type) == 0;
  made->array = aligned ? at::from_blob(data, shape, options) : at::empty(shape, options);
  if (!aligned && wanted > 0) std::memcpy(made->array.data_ptr(), data, wanted);
  if (!fortran) return;
  std::vector<int64_t> order(shape.size());
  for (size_t i = 0; i < order.size(); ++i) order[i] = static_cast<int64_t>(order.size() - 1 - i);
  made->array = made->array.permute(order);
}

// ('storage', torch.FloatStorage, '0', 'cpu', 12)
void PickleReader::persistent() {
  const Value* id = pop();
  if (id->kind != Value::tuple || id->items.size() < 5 || id->items[1]->kind != Value::name ||
      id->items[2]->kind != Value::text || !kStorages.contains(id->items[1]->characters)) {
    refuse("a reference to what is no storage of a tensor");
  }
  const std::string key(id->items[2]->characters);
  const auto found = storages_.find(key);
  if (found != storages_.end()) return push(found->second);
  if (!storage_) refuse("a tensor outside an archive of torch.save");
  const at::ScalarType type = kStorages.at(id->items[1]->characters);
  const std::string stored = storage_(key);
  const int64_t count = integer(id->items[4]);
  if (count < 0 || static_cast<uint64_t>(count) != stored.size() / c10::elementSize(type)) {
    refuse(fmt::format("storage '{}' of {} bytes, expected {} numbers", key, stored.size(), count));
  }
  Value* made = make(Value::storage);
  made->array = at::empty({count}, at::TensorOptions().dtype(type));
  std::memcpy(made->array.data_ptr(), stored.data(), made->array.nbytes());
  storages_[key] = made;
  push(made);
}

void PickleReader::tensor_of_storage(Value* made, const std::vector<const Value*>& arguments) {
  if (arguments[0]->kind != Value::storage) refuse("a tensor without storage");
  const at::Tensor& storage = arguments[0]->array;
  const int64_t offset = integer(arguments[1]);
  const std::vector<int64_t> size = integers(arguments[2]), stride = integers(arguments[3]);
  if (size.size() != stride.size()) refuse("a tensor with more sizes than strides");
  const bool empty = std::find(size.begin(), size.end(), 0) != size.end();
  // no number is used twice: a small file cannot make a large tensor
  const int64_t most = empty ? int64_t{1} << 31 : storage.numel();
  int64_t last = offset, count = 1;  // the last number that the tensor reaches; how many it has
  for (size_t i = 0; i < size.size(); ++i) {
    if (size[i] < 0 || stride[i] < 0 || size[i] > most / count) refuse("a tensor of broken shape");
    count *= std::max<int64_t>(size[i], 1);
    int64_t reach = 0;
    if (size[i] > 1 &&
        (__builtin_mul_overflow(size[i] - 1, stride[i], &reach) || __builtin_add_overflow(last, reach, &last))) {
      refuse("a tensor of broken shape");
    }
  }
  if (offset < 0 || offset > storage.numel() || (!empty && last >= storage.numel())) {
    refuse(fmt::format("a tensor that reaches over the {} numbers of its storage", storage.numel()));
  }
  made->array = storage.as_strided(size, stride, offset);
}

const PickleValue* PickleValue::find(std::string_view key) const {
  for (const auto& entry : entries) {
    if (entry.first->kind == text && entry.first->characters == key) return entry.second;
  }
  return nullptr;
}

Pickle::Pickle(std::string_view bytes, const std::string& label,
               std::function<std::string(const std::string& key)> storage) {
  root_ = PickleReader(*this, bytes, label, std::move(storage)).run();
}

Pickle::Pickle(const fs::path& path) {
  const auto mapped = std::make_shared<const MappedFile>(path, "pickle");
  const std::string label = path.string();
  if (!mapped->bytes().starts_with("PK\x03\x04")) {
    if (mapped->bytes().starts_with(std::string_view("\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19", 14))) {
      fail("pickle", fmt::format("a file of torch.save before version 1.6 ({})", label),
           "save it again in Python: torch.save(torch.load(A, weights_only=True, map_location='cpu'), B)");
    }
    file_ = mapped;
    root_ = PickleReader(*this, mapped->bytes(), label, {}).run();
    return;
  }
  const ZipFile archive(path, "pickle");
  std::string folder;
  for (const auto& entry : archive.entries()) {
    if (entry.first.ends_with("/data.pkl")) folder = entry.first.substr(0, entry.first.size() - 8);
  }
  if (folder.empty()) fail("pickle", fmt::format("no data.pkl in the archive ({})", label));
  const auto program = std::make_shared<const std::string>(archive.read(folder + "data.pkl"));
  file_ = program;
  if (archive.entries().contains(folder + "byteorder") && archive.read(folder + "byteorder") != "little") {
    fail("pickle", fmt::format("big-endian numbers ({})", label));
  }
  root_ = PickleReader(*this, *program, label, [&](const std::string& key) {
            if (!archive.entries().contains(folder + "data/" + key)) {
              fail("pickle", fmt::format("no storage '{}' in the archive ({})", key, label));
            }
            return archive.read(folder + "data/" + key);
          }).run();
}

}  // namespace introspect
