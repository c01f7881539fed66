"""词语：反义词、近义词、量词、英语单词、汉字的偏旁。"""

from small_world.skill import Ask, Relation


def pairs(text: str) -> tuple[tuple[str, ...], ...]:
    """把“大-小 多-少”这样的紧凑写法拆成一行行事实。"""
    return tuple(tuple(pair.split("-")) for pair in text.split())


def grouped(text: str) -> tuple[tuple[str, ...], ...]:
    """把“条：鱼 蛇”这样一行一个值的紧凑写法拆成（鱼，条）、（蛇，条）。"""
    groups = (line.strip().split("：") for line in text.strip().splitlines())
    return tuple((entity, value) for value, entities in groups for entity in entities.split())


# 每个词只出现在一行里，这样两个方向的答案都是唯一的。
_ANTONYMS = pairs("""
大-小 多-少 高-低 胖-瘦 长-短 远-近 快-慢 早-晚 新-旧 好-坏 冷-热 黑-白 左-右 上-下 前-后 里-外 进-出 来-去 买-卖 开-关
哭-笑 男-女 轻-重 软-硬 深-浅 粗-细 厚-薄 宽-窄 明-暗 真-假 生-死 动-静 强-弱 输-赢 对-错 香-臭 甜-苦 干-湿 美-丑 贫-富
公-私 正-反 升-降 借-还 问-答 爱-恨 推-拉 古-今 忙-闲 松-紧 浓-淡 满-空 饱-饿 缓-急 直-弯 善-恶 攻-守 利-弊 横-竖
高兴-难过 安全-危险 勇敢-胆小 勤劳-懒惰 聪明-愚蠢 认真-马虎 简单-复杂 容易-困难 干净-肮脏 整齐-杂乱 安静-吵闹 热情-冷淡
骄傲-谦虚 成功-失败 进步-退步 表扬-批评 喜欢-讨厌 开始-结束 增加-减少 上升-下降 温暖-寒冷 光明-黑暗 美丽-丑陋 诚实-虚伪
善良-凶恶 朋友-敌人 白天-黑夜 过去-将来 粗心-细心 团结-分裂 战争-和平 先进-落后 优点-缺点 积极-消极 主动-被动 公开-秘密
具体-抽象 特殊-一般 提前-推迟 集中-分散 紧张-轻松 富裕-贫穷 幸福-痛苦 浪费-节约 保护-破坏 赞成-反对 允许-禁止 承认-否认
相信-怀疑 记住-忘记 出现-消失 出发-到达 前进-后退 打开-关闭 上班-下班 入口-出口 内部-外部 粗糙-光滑 清楚-模糊 强大-弱小
高大-矮小 宽阔-狭窄 坚硬-柔软 迅速-缓慢 长处-短处 真实-虚假 希望-绝望 乐观-悲观 大方-小气 直接-间接 主要-次要 必然-偶然
肯定-否定 文明-野蛮
""")

_SYNONYMS = pairs("""
高兴-快乐 美丽-漂亮 立刻-马上 常常-经常 忽然-突然 仿佛-好像 著名-有名 仔细-细致 疲倦-疲劳 安静-宁静 温暖-暖和 非常-十分
如果-假如 因为-由于 渐渐-慢慢 依然-仍然 到底-究竟 大概-大约 悲伤-伤心 害怕-恐惧 惊讶-吃惊 爱护-爱惜 帮助-协助 担心-担忧
思念-想念 感谢-感激 责怪-责备 夸奖-称赞 鼓励-激励 允许-准许 同意-赞成 坚强-顽强 聪明-聪慧 勤劳-勤快 谦虚-虚心 骄傲-自满
诚实-老实 宽阔-宽广 巨大-庞大 微小-细小 明亮-光亮 干净-清洁 普通-平常 珍贵-宝贵 重要-要紧 繁荣-兴旺 迅速-飞快 打算-计划
讨论-商量 父亲-爸爸 母亲-妈妈 故乡-家乡 医生-大夫 老师-教师 方法-办法 原因-缘故 错误-差错 本领-本事 盼望-期盼 躲藏-隐藏
欣赏-观赏 赶紧-赶快 全部-所有 友谊-友情 奇怪-古怪 炎热-酷热 特点-特征 恰好-正好 赞美-赞扬
""")

_MEASURES = grouped("""
条：鱼 蛇 河 路 裤子 裙子 毛巾 围巾 龙 领带
只：鸡 鸭子 鸟 猫 兔子 老鼠 羊 猴子 蝴蝶 蜜蜂 蚂蚁 青蛙 耳朵 老虎
头：牛 大象 猪
匹：马
棵：树 白菜
朵：花 云
本：书 词典
支：铅笔 钢笔 毛笔
张：纸 桌子 床 照片 地图 电影票 嘴 脸
把：椅子 伞 钥匙 锁 剪刀 尺子 扇子 梳子 茶壶
辆：汽车 自行车 卡车 出租车 摩托车
架：飞机 钢琴
艘：轮船
列：火车
台：电脑 电视机 洗衣机 冰箱
件：衣服 衬衫 大衣 毛衣 礼物
双：鞋 袜子 筷子
副：眼镜 对联
顶：帽子 帐篷
座：山 桥 塔
间：教室 卧室
所：学校
家：商店 银行 公司
扇：窗户 门
面：镜子 鼓 旗子
位：老师 客人
首：歌 诗
封：信
份：报纸
篇：文章 作文 课文
道：题 闪电 彩虹
场：雨 雪 比赛
阵：风
颗：星星 牙齿 珍珠 钉子
粒：米 沙子
块：手表 石头 蛋糕 橡皮 豆腐
片：树叶 雪花
根：香蕉 头发 绳子 火柴
口：井 锅
盏：灯
幅：画
部：电影 手机
节：电池 车厢
串：葡萄
枚：硬币 戒指
滴：眼泪
顿：饭
笔：钱
盘：棋
个：苹果 鸡蛋 西瓜 书包 月饼 包子 问题 故事
""")

_ENGLISH = pairs("""
苹果-apple 香蕉-banana 橙子-orange 葡萄-grape 西瓜-watermelon 柠檬-lemon 桃子-peach 草莓-strawberry 土豆-potato
西红柿-tomato
米饭-rice 面包-bread 牛奶-milk 茶-tea 咖啡-coffee 鸡蛋-egg 蛋糕-cake 糖-sugar 盐-salt 汤-soup
猫-cat 狗-dog 鸟-bird 鱼-fish 马-horse 牛-cow 羊-sheep 猪-pig 鸭子-duck 老虎-tiger 狮子-lion 猴子-monkey 大象-elephant
熊猫-panda 兔子-rabbit 蛇-snake 青蛙-frog
太阳-sun 月亮-moon 星星-star 天空-sky 云-cloud 雨-rain 雪-snow 风-wind 山-mountain 河-river 海-sea 树-tree
花-flower 草-grass
书-book 笔-pen 桌子-desk 椅子-chair 门-door 窗户-window 床-bed 灯-lamp 钟-clock 杯子-cup 刀-knife 钥匙-key 雨伞-umbrella
帽子-hat 衬衫-shirt 鞋-shoe 外套-coat 汽车-car 火车-train 飞机-plane 船-ship 自行车-bike 地图-map 照片-photo 音乐-music
学校-school 老师-teacher 学生-student 医生-doctor 护士-nurse 司机-driver 农民-farmer 父亲-father 母亲-mother
朋友-friend 城市-city 医院-hospital
红色-red 绿色-green 蓝色-blue 黄色-yellow 黑色-black 白色-white
头-head 手-hand 眼睛-eye 耳朵-ear 鼻子-nose 嘴-mouth 脚-foot
一-one 二-two 三-three 四-four 五-five 六-six 七-seven 八-eight 九-nine 十-ten
""")

_RADICALS = grouped("""
三点水：河 江 海 湖 洗
两点水：冷 冰
单人旁：你 他 住 休
双人旁：很 往
提手旁：打 拍 推 抱
木字旁：树 桥 村
口字旁：吃 唱 叫
言字旁：说 语 读
女字旁：妈 姐 妹
绞丝旁：红 绿 线
金字旁：铁 银 钱
火字旁：灯 烧
草字头：花 草 茶
竹字头：笔 篮
宝盖头：家 安
走之底：远 近 送
竖心旁：忙 怕 情
心字底：想 忘
月字旁：肚 脸 腿
日字旁：晚 时
王字旁：玩 球
虫字旁：蛇 虾
足字旁：跑 跳
食字旁：饭 饿
反犬旁：狗 猫
雨字头：雪 雷
国字框：国 园
病字头：病 疼
禾木旁：秋 种
米字旁：粉 糖
立刀旁：刻 别
右耳旁：都 邮
左耳旁：院 阳
示字旁：神 祝
四点底：热 照
""")

ANTONYM = Relation(
    name="反义词",
    kind="反义词",
    columns=("word", "opposite"),
    rows=_ANTONYMS,
    statements=(
        "“{word}”的反义词是“{opposite}”。",
        "“{opposite}”的反义词是“{word}”。",
        "“{word}”和“{opposite}”是一对反义词。",
        "“{opposite}”和“{word}”互为反义词。",
        "“{word}”的意思跟“{opposite}”正好相反。",
        "和“{opposite}”意思相反的词是“{word}”。",
        "和“{word}”意思相反的词是“{opposite}”。",
        "“{word}”的反面是“{opposite}”。",
        "“{opposite}”的反面是“{word}”。",
        "老师教我们，“{word}”的反义词是“{opposite}”，“{opposite}”的反义词是“{word}”。",
        "在反义词表里，“{word}”对着“{opposite}”。",
    ),
    asks=(
        Ask(
            questions=(
                "“{word}”的反义词是什么？",
                "“{word}”的反义词是哪个词？",
                "请问“{word}”的反义词是什么？",
                "你知道“{word}”的反义词吗？",
                "和“{word}”意思相反的词是什么？",
                "告诉我“{word}”的反义词。",
            ),
            answer="“{word}”的反义词是“{opposite}”。",
            short="{opposite}",
            topic="“{word}”的反义词",
            follow_up="那“{word}”呢？",
            pronoun_question="这个词的反义词是什么？",
            probe="“{word}”的反义词是“|{opposite}",
        ),
        Ask(
            questions=(
                "“{opposite}”的反义词是什么？",
                "“{opposite}”的反义词是哪个词？",
                "请问“{opposite}”的反义词是什么？",
                "你知道“{opposite}”的反义词吗？",
                "和“{opposite}”意思相反的词是什么？",
                "告诉我“{opposite}”的反义词。",
            ),
            answer="“{opposite}”的反义词是“{word}”。",
            short="{word}",
            topic="“{opposite}”的反义词",
            follow_up="那“{opposite}”呢？",
            probe="“{opposite}”的反义词是“|{word}",
        ),
    ),
)

SYNONYM = Relation(
    name="近义词",
    kind="近义词",
    columns=("word", "similar"),
    rows=_SYNONYMS,
    statements=(
        "“{word}”的近义词是“{similar}”。",
        "“{similar}”的近义词是“{word}”。",
        "“{word}”和“{similar}”是一对近义词。",
        "“{similar}”和“{word}”互为近义词。",
        "“{word}”的意思跟“{similar}”差不多。",
        "和“{similar}”意思相近的词是“{word}”。",
        "和“{word}”意思相近的词是“{similar}”。",
        "“{word}”换一个说法，就是“{similar}”。",
        "“{similar}”换一个说法，就是“{word}”。",
        "老师教我们，“{word}”的近义词是“{similar}”，“{similar}”的近义词是“{word}”。",
        "写作文的时候，“{similar}”和“{word}”可以换着用。",
    ),
    asks=(
        Ask(
            questions=(
                "“{word}”的近义词是什么？",
                "“{word}”的近义词是哪个词？",
                "请问“{word}”的近义词是什么？",
                "你知道“{word}”的近义词吗？",
                "和“{word}”意思相近的词是什么？",
                "告诉我“{word}”的近义词。",
            ),
            answer="“{word}”的近义词是“{similar}”。",
            short="{similar}",
            topic="“{word}”的近义词",
            follow_up="那“{word}”呢？",
            pronoun_question="这个词的近义词是什么？",
            probe="“{word}”的近义词是“|{similar}",
        ),
        Ask(
            questions=(
                "“{similar}”的近义词是什么？",
                "“{similar}”的近义词是哪个词？",
                "请问“{similar}”的近义词是什么？",
                "你知道“{similar}”的近义词吗？",
                "和“{similar}”意思相近的词是什么？",
                "告诉我“{similar}”的近义词。",
            ),
            answer="“{similar}”的近义词是“{word}”。",
            short="{word}",
            topic="“{similar}”的近义词",
            follow_up="那“{similar}”呢？",
            probe="“{similar}”的近义词是“|{word}",
        ),
    ),
)

MEASURE_WORD = Relation(
    name="量词",
    kind="量词",
    columns=("noun", "measure"),
    rows=_MEASURES,
    statements=(
        "“{noun}”的量词是“{measure}”，一{measure}{noun}。",
        "“{noun}”的量词是“{measure}”。",
        "“{measure}”是“{noun}”的量词。",
        "说到“{noun}”，量词要用“{measure}”。",
        "用“{measure}”作量词，可以说一{measure}{noun}。",
        "我们说一{measure}{noun}、两{measure}{noun}、三{measure}{noun}。",
        "“一{measure}{noun}”这个说法里，量词是“{measure}”。",
        "“{noun}”前面的量词是“{measure}”，所以说一{measure}{noun}。",
        "学习量词的时候要记住：一{measure}{noun}。",
        "一{measure}{noun}，用的量词是“{measure}”。",
    ),
    asks=(
        Ask(
            questions=(
                "“{noun}”的量词是什么？",
                "“{noun}”用什么量词？",
                "请问“{noun}”前面用哪个量词？",
                "你知道“{noun}”的量词是什么吗？",
                "说“{noun}”的时候，量词该用哪个？",
                "告诉我“{noun}”的量词。",
            ),
            answer="“{noun}”的量词是“{measure}”，一{measure}{noun}。",
            short="{measure}",
            topic="“{noun}”的量词",
            follow_up="那“{noun}”呢？",
            pronoun_question="这个词前面用什么量词？",
            probe="“{noun}”的量词是“|{measure}",
        ),
    ),
)

ENGLISH = Relation(
    name="英语单词",
    kind="英语单词",
    columns=("chinese", "english"),
    rows=_ENGLISH,
    statements=(
        "“{chinese}”的英语是“{english}”。",
        "英语单词“{english}”的意思是“{chinese}”。",
        "“{chinese}”用英语说是“{english}”。",
        "“{english}”翻译成中文是“{chinese}”。",
        "“{chinese}”翻译成英语是“{english}”。",
        "在英语里，“{chinese}”叫“{english}”。",
        "“{english}”就是“{chinese}”的英语。",
        "英语课上，老师说“{english}”是“{chinese}”的意思。",
        "看到“{english}”这个英语单词，就想到“{chinese}”。",
        "要用英语说“{chinese}”，就说“{english}”。",
    ),
    asks=(
        Ask(
            questions=(
                "“{chinese}”的英语是什么？",
                "“{chinese}”用英语怎么说？",
                "请问“{chinese}”翻译成英语是什么？",
                "你知道“{chinese}”用英语怎么说吗？",
                "告诉我“{chinese}”的英语。",
                "把“{chinese}”翻译成英语。",
            ),
            answer="“{chinese}”的英语是“{english}”。",
            short="{english}",
            topic="“{chinese}”的英语",
            follow_up="那“{chinese}”呢？",
            pronoun_question="这个词用英语怎么说？",
            probe="“{chinese}”的英语是“|{english}",
        ),
        Ask(
            questions=(
                "英语单词“{english}”是什么意思？",
                "“{english}”翻译成中文是什么？",
                "请问“{english}”用中文怎么说？",
                "你知道英语单词“{english}”的意思吗？",
                "告诉我英语单词“{english}”的意思。",
                "把“{english}”翻译成中文。",
            ),
            answer="英语单词“{english}”的意思是“{chinese}”。",
            short="{chinese}",
            topic="英语单词“{english}”的意思",
            follow_up="那“{english}”呢？",
            probe="英语单词“{english}”的意思是“|{chinese}",
        ),
    ),
)

RADICAL = Relation(
    name="偏旁",
    kind="汉字偏旁",
    columns=("character", "radical"),
    rows=_RADICALS,
    statements=(
        "“{character}”字的偏旁是{radical}。",
        "{radical}是“{character}”字的偏旁。",
        "“{character}”是{radical}的字。",
        "写“{character}”字要用到{radical}。",
        "“{character}”字里有一个{radical}。",
        "带{radical}的字里有“{character}”。",
        "“{character}”这个字，偏旁是{radical}。",
        "看到{radical}，可以想到“{character}”字。",
        "“{character}”属于{radical}的字。",
        "学写“{character}”字，先认识它的偏旁{radical}。",
    ),
    asks=(
        Ask(
            questions=(
                "“{character}”字的偏旁是什么？",
                "“{character}”字是什么偏旁？",
                "请问“{character}”字的偏旁叫什么？",
                "你知道“{character}”字的偏旁是什么吗？",
                "“{character}”这个字用的是哪个偏旁？",
                "告诉我“{character}”字的偏旁。",
            ),
            answer="“{character}”字的偏旁是{radical}。",
            short="{radical}",
            topic="“{character}”字的偏旁",
            follow_up="那“{character}”字呢？",
            pronoun_question="这个字的偏旁是什么？",
            probe="“{character}”字里有一个|{radical}",
        ),
    ),
)

RELATIONS = (ANTONYM, SYNONYM, MEASURE_WORD, ENGLISH, RADICAL)
