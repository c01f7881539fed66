"""两个训练脚本共用的部分：一个文件只讲一件事。"""

import logging

# 装了 bitsandbytes 时，它一被导入（transformers 和 PEFT 都会）就说 CPU 上少一个更快的算子：没有它也一样对。
logging.getLogger("bitsandbytes.backends.cpu.ops").setLevel(logging.ERROR)
