"""What each setting means, in Chinese; the English is the sentence in `engine/config.py`."""

from __future__ import annotations

CHINESE = {
    "source": "从哪里开始：base、mid、sft 或 rl（nanochat 缓存中的目录），或 starter（随 sftui 附带）。",
    "model_tag": "模型目录，例如 d16（默认：最深的一个）。",
    "step": "起始检查点的步数（默认：最后一个）。",
    "data_dir": "存放 TASK.SPLIT.jsonl 或 .parquet 的目录（默认：通过 datasets 从 hub 读取）。",
    "mixture": "训练文件或任务名，逗号分隔，形如 NAME[:ROWS] 或 FILE[:ROWS]（默认：ARC-Easy、ARC-Challenge、GSM8K、SmolTalk）。",
    "validation": "验证数据：名称、文件，或 held-out，即训练行的二十分之一（默认：有自己的文件而没有 --data-dir 时为 held-out，否则为 SmolTalk 的测试行）。",
    "skip_bad_rows": "跳过并统计格式错误的行，而不是拒绝整个文件。",
    "max_tokens": "一行最多的 token 数；更长的行被截断并计数。",
    "smoltalk_rows": "打乱后取用的 SmolTalk 行数。",
    "seed": "行顺序的随机种子；nanochat 用 42。",
    "device_batch_size": "一个进程一个微批次的行数。",
    "target_examples_per_step": "一次更新在所有进程上的总行数；梯度累积次数由它决定。",
    "num_epochs": "遍历训练混合数据的次数。",
    "num_iterations": "迭代次数，最后一次只评测不更新（-1：由 num_epochs 算出）。",
    "loss_norm": "microbatch：各微批次权重相同，与 nanochat 一致；tokens：各受监督 token 权重相同。",
    "layout": "样本在内存中的排列。损失和梯度相同，packed 更快。",
    "micro_tokens": "packed 排列下一个微批次最多的 token 数（0：自动，按显存余量决定；CPU 上为 1,000）。",
    "unembedding_lr": "输出头的 AdamW 学习率，乘以 1/sqrt(宽度/768)。",
    "embedding_lr": "词嵌入的 AdamW 学习率，乘以 1/sqrt(宽度/768)。",
    "matrix_lr": "各层矩阵的 Muon 学习率。",
    "weight_decay": "词嵌入和输出头的解耦权重衰减。",
    "init_lr_frac": "所有学习率从自身的这一比例开始，线性降到零。",
    "eval_every": "每隔多少步测一次验证损失。",
    "eval_steps": "一次验证中每个进程的微批次数。",
    "eval_metrics_every": "每隔多少步做一次选择题评测（MMLU、ARC-Easy）；起点总会评测。",
    "eval_metrics_max_problems": "每个任务的题目数。",
    "eval_tasks": "选择题任务，逗号分隔。",
    "sample_every": "每隔多少步对几个提示做简短的贪心回答（0：不做）。",
    "sample_prompts": "这些提示，每个一个词或加引号的文本（默认：取自三行验证数据）。",
    "checkpoint_every": "每隔多少步保存检查点（0：只在结束、停止和请求时）。",
    "keep": "除最好的和标记过的之外，保留最新的几个检查点。",
    "gpus": "进程数：GPU 数，没有 GPU 时为同样多的 CPU 进程。",
    "device_type": "cuda、cpu 或 mps（默认：自动判断）。",
    "dtype": "矩阵乘法的精度：bfloat16（自动混合精度，权重为 fp32）或 float32；auto 在 CUDA 上为 bfloat16，其他设备上为 float32。",
    "threads": "每个进程的 CPU 线程数（0：核数除以进程数）。",
    "activation_checkpointing": "反向传播时重算激活：更省内存，更慢。",
    "compile": "用 torch.compile 编译各层的训练计算：内核更少更大，启动时多花至多一分钟。不能用时会拒绝，而不是忽略。",
    "on_nonfinite": "损失或梯度不是数时：所有进程在更新前停止、跳过该次更新，或只警告。",
    "on_diverging": "损失发散时除告警外还做什么。",
    "restart_silent": "第 0 进程多少秒没有心跳就重启所有进程；0 表示从不。",
    "max_restarts": "崩溃后所有进程重启的次数上限。",
    "nodes": "共同承担进程的机器数；在其他机器上该输入什么会在开始时打印。",
    "rendezvous": "配合 --nodes：其他机器访问本机的 HOST:PORT。",
    "run": "运行的名字，显示在标题和目录名中。",
}
"""Every setting of `engine.config`; a test holds the two together."""

OTHERS: dict[str, tuple[str, str]] = {
    "num_train_epochs": ("Passes over the training rows.", "遍历训练数据的轮次数。"),
    "num_epochs": ("Passes over the training rows.", "遍历训练数据的轮次数。"),
    "max_steps": ("Updates in all.", "更新总次数。"),
    "train_batch_size": ("Rows of a micro-batch on one device.", "单个设备上一个微批次的行数。"),
    "per_device_train_batch_size": (
        "Rows of a micro-batch on one device.",
        "单个设备上一个微批次的行数。",
    ),
    "gradient_accumulation_steps": ("Micro-batches of one update.", "一次更新累积的微批次数。"),
    "logging_steps": ("Updates from one logged line to the next.", "每隔多少次更新记录一行。"),
    "eval_steps": ("Updates from one evaluation to the next.", "每隔多少次更新评测一次。"),
    "save_steps": ("Updates from one checkpoint to the next.", "每隔多少次更新保存检查点。"),
    "learning_rate": ("Highest learning rate.", "学习率的最高值。"),
    "weight_decay": ("Decoupled weight decay.", "解耦权重衰减。"),
    "warmup_steps": ("Updates in which the rate rises.", "学习率上升阶段的更新次数。"),
    "warmup_ratio": ("Share of the updates in which the rate rises.", "学习率上升阶段所占的比例。"),
    "lr_scheduler_type": ("Shape of the learning rate over the run.", "学习率随训练变化的方式。"),
    "max_seq_len": ("Most tokens of a row.", "一行最多的 token 数。"),
    "total_batch_size": ("Tokens or rows of one update.", "一次更新的 token 数或行数。"),
    "seed": ("Random seed.", "随机种子。"),
}
"""Settings of other programs, by their usual names, in English and Chinese.

The same name may mean something else here: `eval_steps` of the HF Trainer is an interval.
"""
