import sys; sys.path.insert(0, ".")
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
import engine.model.nanochat.gpt as em
from engine.model.nanochat.gpt import GPT; from engine.model.nanochat.gpt_config import GPTConfig
c=GPTConfig(sequence_len=64,vocab_size=128,n_layer=2,n_head=4,n_kv_head=2,n_embd=32)
class Calls(TorchDispatchMode):
    def __init__(s): super().__init__(); s.names=[]
    def __torch_dispatch__(s,f,t,a=(),k=None): s.names.append(str(f)); return f(*a,**(k or {}))
def go():
    with FakeTensorMode(), Calls() as calls, torch.no_grad():
        st={n:torch.empty(s,device="cuda",dtype=torch.bfloat16 if "wte" in n else torch.float32) for n,s in c.parameter_shapes().items()}
        m=GPT.from_state(c,st).requires_grad_(False)
        torch.set_autocast_enabled("cuda",True); torch.set_autocast_dtype("cuda",torch.bfloat16)
        try: h=m(torch.zeros(9,dtype=torch.long,device="cuda"),spans=[(0,4),(4,9)])
        finally: torch.set_autocast_enabled("cuda",False)
    print(torch.__version__,h.dtype,"varlen",sum("varlen_attn" in n for n in calls.names),"sdpa-like",sum("softmax" in n or "scaled_dot" in n for n in calls.names))
go()
def _n(x):
    with torch.autocast(x.device.type,enabled=False): return torch.nn.functional.rms_norm(x,(x.size(-1),))
em._norm=_n; go()
