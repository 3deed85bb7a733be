"""Dumps what every module of a PyTorch model gives. Copy it into your port; it needs torch and safetensors alone.

    with Dump(model, "dump.safetensors"):
        model(tokens)

Then `cargo xtask compare dump.safetensors`. Names are module paths behind the number of the call: `0/h.0.ln_1`;
of an output with several tensors the second is `0/h.0.attn.1`. The ids that the model was fed are `0/tokens`.
"""

import torch
from safetensors.torch import save_file


class Dump:
    def __init__(self, model: torch.nn.Module, path: str):
        self.model, self.path, self.call, self.tensors = model, path, -1, {}

    def __enter__(self) -> "Dump":
        self.handles = [self.model.register_forward_pre_hook(self.begin, with_kwargs=True)]
        for name, module in self.model.named_modules():
            listen = lambda _, inputs, output, name=name: self.keep(name or "output", output)  # noqa: E731
            self.handles.append(module.register_forward_hook(listen))
        return self

    def begin(self, _: torch.nn.Module, inputs: tuple, options: dict) -> None:
        self.call += 1
        ids = [x for x in (*inputs, *options.values()) if torch.is_tensor(x) and not x.is_floating_point()]
        self.keep("tokens", ids[:1])

    def keep(self, name: str, output: object) -> None:
        several = output if isinstance(output, (tuple, list)) else [output]
        for i, tensor in enumerate(several):
            if torch.is_tensor(tensor):
                key = f"{self.call}/{name}" + (f".{i}" if i else "")
                self.tensors[key] = tensor.detach().cpu().clone().contiguous()

    def __exit__(self, *error: object) -> None:
        for handle in self.handles:
            handle.remove()
        if error[0] is None:
            save_file(self.tensors, self.path)
