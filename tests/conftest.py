"""几个测试进程同时运行，每个只用一个线程：两个线程旁边有忙着的程序时，可能慢几十倍。"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
