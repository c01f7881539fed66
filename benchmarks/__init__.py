"""与别的训练程序并排测量：时间、内存、损失。用法见 benchmarks/README.md。"""
