"""What PEFT's merge_and_unload() makes of models in 16 bits: writes merge.safetensors beside itself.

Tensors: <dtype>.base.*, the model; <adapter>.*, an adapter under PEFT's names; <dtype>.<adapter>.*,
the model with it merged. Metadata: <adapter>, its adapter_config.json.
"""

import copy
import tempfile
from pathlib import Path

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from transformers.pytorch_utils import Conv1D


class Model(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = torch.nn.Embedding(6, 7)
        self.fc = torch.nn.Linear(7, 5)
        self.conv = torch.nn.Conv2d(3, 4, (3, 2))
        self.turned = Conv1D(6, 5)
        self.head = torch.nn.Linear(5, 2)

    def forward(self, x):
        return x


common = {"r": 3, "lora_alpha": 5, "init_lora_weights": False}
layers = ["embedding", "fc", "conv"]
configs = {
    "rslora": LoraConfig(**common, target_modules=layers, use_rslora=True),
    "dora": LoraConfig(**common, target_modules=layers, use_dora=True, modules_to_save=["head"]),
    "turned": LoraConfig(**common, target_modules=["turned"], fan_in_fan_out=True),
    "turned_dora": LoraConfig(
        **common, target_modules=["turned"], fan_in_fan_out=True, use_dora=True
    ),
    "biases": LoraConfig(**common, target_modules=["fc", "conv"], lora_bias=True, bias="all"),
}

torch.manual_seed(0)
model = Model()
with torch.no_grad():
    for parameter in model.parameters():
        parameter.normal_()
dtypes = {"f16": torch.float16, "bf16": torch.bfloat16}
tensors, metadata = {}, {}
for dtype_name, dtype in dtypes.items():
    for name, value in copy.deepcopy(model).to(dtype).state_dict().items():
        tensors[f"{dtype_name}.base.{name}"] = value

for name, config in configs.items():
    with tempfile.TemporaryDirectory() as folder:
        adapted = get_peft_model(copy.deepcopy(model), copy.deepcopy(config))
        with torch.no_grad():
            for parameter in adapted.parameters():
                if parameter.requires_grad:
                    parameter.add_(0.3 * torch.randn_like(parameter))
        adapted.save_pretrained(folder)
        metadata[name] = (Path(folder) / "adapter_config.json").read_text()
        for key, value in load_file(Path(folder) / "adapter_model.safetensors").items():
            tensors[f"{name}.{key}"] = value
        for dtype_name, dtype in dtypes.items():
            # A model that is stored in 16 bits, with an adapter in 32.
            base = copy.deepcopy(model).to(dtype)
            merged = PeftModel.from_pretrained(base, folder).merge_and_unload()
            for key, value in merged.state_dict().items():
                if not torch.equal(value, tensors[f"{dtype_name}.base.{key}"]):
                    assert value.dtype == dtype, (name, key, value.dtype)
                    tensors[f"{dtype_name}.{name}.{key}"] = value

path = Path(__file__).with_suffix(".safetensors")
save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, path, metadata)
print(path, path.stat().st_size)
