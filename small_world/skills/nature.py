"""自然：植物的类别、味道、食用部分和花期，事物的颜色，化学元素、行星、节气。"""

from small_world.skill import Ask, Relation, rows_by_value

_BY_CATEGORY = {
    "水果": "苹果 香蕉 梨 桃子 葡萄 西瓜 草莓 樱桃 橙子 橘子 柠檬 荔枝 龙眼 芒果 菠萝 石榴 柿子 杏子 李子 "
    "猕猴桃 蓝莓 哈密瓜 山楂 杨梅 柚子 火龙果",
    "蔬菜": "白菜 菠菜 芹菜 韭菜 生菜 黄瓜 茄子 南瓜 冬瓜 丝瓜 苦瓜 胡萝卜 白萝卜 莲藕 西兰花 花菜 洋葱 豆角 竹笋",
    "粮食": "水稻 小麦 玉米 小米 大麦",
    "花卉": "牡丹 菊花 玫瑰 月季 郁金香 百合 水仙 兰花 荷花 牵牛花",
    "树木": "松树 柳树 杨树 柏树 枫树 银杏树 榕树",
}

_BY_TASTE = {
    "甜": "西瓜 香蕉 荔枝 龙眼 甘蔗 哈密瓜 白糖 蜂蜜 冰糖 柿子",
    "酸": "柠檬 山楂 杨梅 醋 酸梅",
    "苦": "苦瓜 黄连 苦菜 莲子心",
    "辣": "辣椒 生姜 大蒜 洋葱",
    "咸": "食盐 酱油 海水 咸菜 咸鸭蛋",
    "麻": "花椒",
}

_BY_COLOUR = {
    "白色": "雪 云朵 牛奶 豆腐 米饭 食盐 白糖 面粉 棉花 豆浆 莲藕 大蒜 梨花 牙齿 骨头 救护车 石灰 冬瓜肉",
    "黑色": "煤 木炭 墨汁 木耳 轮胎 黑芝麻 乌鸦的羽毛",
    "红色": "血 草莓 樱桃 西红柿 山楂 消防车 秋天的枫叶 五星红旗 石榴花 红豆",
    "黄色": "香蕉 柠檬 向日葵 油菜花 迎春花 蛋黄 小米 玉米粒 蜡梅 校车",
    "绿色": "草 荷叶 黄瓜 菠菜 芹菜 韭菜 西兰花 竹子 仙人掌 西瓜皮 夏天的树叶 绿豆 猕猴桃的果肉 中国的邮筒",
    "蓝色": "晴空 大海 蓝莓",
    "紫色": "茄子 薰衣草 紫甘蓝 紫薯",
    "橙色": "胡萝卜 橙子",
    "粉红色": "桃花",
}

_BY_PART = {
    "根": "胡萝卜 白萝卜 红薯 甜菜",
    "茎": "土豆 甘蔗 生姜",
    "叶子": "白菜 菠菜 韭菜 生菜 卷心菜 香菜",
    "花": "西兰花 花菜 黄花菜",
    "果实": "黄瓜 西红柿 茄子 辣椒 南瓜 冬瓜 丝瓜 苦瓜 苹果 梨 西瓜 柿子",
    "种子": "花生 黄豆 绿豆 红豆 核桃",
}

_BY_BLOOM = {
    "春天": "桃花 迎春花 油菜花 樱花 杏花 梨花 牡丹 郁金香 玉兰 丁香",
    "夏天": "荷花 石榴花 牵牛花 向日葵 薰衣草",
    "秋天": "菊花 桂花",
    "冬天": "梅花 蜡梅 水仙",
}

_ELEMENTS = (
    ("氢", "H"),
    ("碳", "C"),
    ("氮", "N"),
    ("氧", "O"),
    ("钠", "Na"),
    ("镁", "Mg"),
    ("铝", "Al"),
    ("硅", "Si"),
    ("磷", "P"),
    ("硫", "S"),
    ("氯", "Cl"),
    ("钾", "K"),
    ("钙", "Ca"),
    ("铁", "Fe"),
    ("铜", "Cu"),
    ("锌", "Zn"),
    ("银", "Ag"),
    ("锡", "Sn"),
    ("金", "Au"),
    ("汞", "Hg"),
    ("铅", "Pb"),
)

# （行星，从太阳数起的次序）
_PLANETS = (
    ("水星", "一"),
    ("金星", "二"),
    ("地球", "三"),
    ("火星", "四"),
    ("木星", "五"),
    ("土星", "六"),
    ("天王星", "七"),
    ("海王星", "八"),
)

# 二十四节气，按次序
_BY_SEASON = {
    "春季": "立春 雨水 惊蛰 春分 清明 谷雨",
    "夏季": "立夏 小满 芒种 夏至 小暑 大暑",
    "秋季": "立秋 处暑 白露 秋分 寒露 霜降",
    "冬季": "立冬 小雪 大雪 冬至 小寒 大寒",
}


_TERMS = tuple(term for term, _ in rows_by_value(_BY_SEASON))

CATEGORY = Relation(
    name="植物类别",
    kind="事物",
    columns=("plant", "category"),
    rows=rows_by_value(_BY_CATEGORY),
    statements=(
        "{plant}属于{category}。",
        "{plant}属于{category}这一类。",
        "{category}的种类很多，{plant}就是一种。",
        "{category}里有{plant}。",
        "说到类别，{plant}属于{category}。",
        "人们把{plant}归为{category}。",
        "书上把{plant}放在{category}那一页。",
        "在植物里，{plant}归在{category}这一类。",
        "提到{category}，可以举{plant}做例子。",
        "大家都知道，{plant}属于{category}。",
    ),
    asks=(
        Ask(
            questions=(
                "{plant}属于哪一类植物？",
                "{plant}属于什么类别？",
                "{plant}归在哪一类？",
                "请问{plant}属于哪一类植物？",
                "你知道{plant}属于哪一类植物吗？",
                "告诉我{plant}属于哪一类植物。",
            ),
            answer="{plant}属于{category}。",
            short="{category}",
            topic="{plant}的类别",
            follow_up="那{plant}呢？",
            pronoun_question="它属于哪一类植物？",
            probe="人们把{plant}归为|{category}",
        ),
    ),
)

TASTE = Relation(
    name="味道",
    kind="事物",
    columns=("thing", "taste"),
    rows=rows_by_value(_BY_TASTE),
    statements=(
        "{thing}是{taste}的。",
        "{thing}的味道是{taste}的。",
        "{thing}尝起来是{taste}的。",
        "尝一口{thing}，味道是{taste}的。",
        "味道{taste}的东西里有{thing}。",
        "说到味道，{thing}是{taste}的。",
        "{thing}有{taste}味。",
        "舌头告诉我们，{thing}是{taste}的。",
        "大家都知道{thing}是{taste}的。",
        "{taste}，这就是{thing}的味道。",
    ),
    asks=(
        Ask(
            questions=(
                "{thing}是什么味道的？",
                "{thing}是什么味道？",
                "{thing}尝起来是什么味道？",
                "请问{thing}是什么味道的？",
                "你知道{thing}是什么味道吗？",
                "告诉我{thing}是什么味道。",
            ),
            answer="{thing}的味道是{taste}的。",
            short="{taste}的",
            topic="{thing}的味道",
            follow_up="那{thing}呢？",
            pronoun_question="它是什么味道的？",
            probe="{thing}的味道是|{taste}",
        ),
    ),
)

COLOUR = Relation(
    name="颜色",
    kind="事物",
    columns=("thing", "colour"),
    rows=rows_by_value(_BY_COLOUR),
    statements=(
        "{thing}是{colour}的。",
        "{thing}的颜色是{colour}。",
        "{colour}是{thing}的颜色。",
        "{thing}看上去是{colour}的。",
        "画{thing}的时候，要用{colour}。",
        "说到颜色，{thing}是{colour}的。",
        "{colour}的东西很多，比如{thing}。",
        "图画书里的{thing}是{colour}的。",
        "孩子们都知道，{thing}是{colour}的。",
        "{colour}，这是{thing}的颜色。",
    ),
    asks=(
        Ask(
            questions=(
                "{thing}是什么颜色的？",
                "{thing}是什么颜色？",
                "{thing}的颜色是什么？",
                "请问{thing}是什么颜色的？",
                "你知道{thing}是什么颜色吗？",
                "画{thing}要用什么颜色？",
            ),
            answer="{thing}是{colour}的。",
            short="{colour}",
            topic="{thing}的颜色",
            follow_up="那{thing}呢？",
            pronoun_question="它是什么颜色的？",
            probe="画{thing}的时候，要用|{colour}",
        ),
    ),
)

PART = Relation(
    name="食用部分",
    kind="事物",
    columns=("plant", "part"),
    rows=rows_by_value(_BY_PART),
    statements=(
        "吃{plant}，吃的是它的{part}。",
        "我们吃的是{plant}的{part}。",
        "{plant}能吃的部分是它的{part}。",
        "{plant}供人吃的是{part}。",
        "人们种{plant}，为的是吃它的{part}。",
        "{plant}的{part}可以吃。",
        "植物的{part}有的可以吃，{plant}就是例子。",
        "从植物学来说，人们吃的是{plant}的{part}。",
        "{part}是{plant}主要的食用部分。",
        "老师说，吃{plant}就是吃它的{part}。",
    ),
    asks=(
        Ask(
            questions=(
                "我们吃的是{plant}的哪个部分？",
                "吃{plant}，吃的是它的哪个部分？",
                "{plant}能吃的是哪个部分？",
                "请问我们吃的是{plant}的什么部分？",
                "你知道我们吃的是{plant}的哪个部分吗？",
            ),
            answer="我们吃的是{plant}的{part}。",
            short="{part}",
            topic="{plant}能吃的部分",
            follow_up="那{plant}呢？",
            pronoun_question="我们吃的是它的哪个部分？",
            probe="{plant}供人吃的是|{part}",
        ),
    ),
)

BLOOM = Relation(
    name="花期",
    kind="事物",
    columns=("flower", "season"),
    rows=rows_by_value(_BY_BLOOM),
    statements=(
        "{flower}在{season}开放。",
        "{season}来了，{flower}开了。",
        "{flower}开在{season}。",
        "{season}开的花里有{flower}。",
        "要看{flower}，就等到{season}。",
        "{season}是{flower}开放的季节。",
        "每到{season}，{flower}就开了。",
        "说到开花，{flower}的花期在{season}。",
        "人们在{season}去看{flower}。",
        "一年四季当中，{flower}在{season}开。",
    ),
    asks=(
        Ask(
            questions=(
                "{flower}在哪个季节开放？",
                "{flower}什么季节开？",
                "{flower}在什么时候开放？",
                "请问{flower}在哪个季节开放？",
                "你知道{flower}在哪个季节开吗？",
                "要看{flower}，该等到哪个季节？",
            ),
            answer="{flower}在{season}开放。",
            short="{season}",
            topic="{flower}开放的季节",
            follow_up="那{flower}呢？",
            pronoun_question="它在哪个季节开放？",
            probe="{flower}开在|{season}",
        ),
    ),
)

ELEMENT = Relation(
    name="元素符号",
    kind="元素",
    columns=("element", "symbol"),
    rows=_ELEMENTS,
    statements=(
        "{element}的元素符号是{symbol}。",
        "{symbol}是{element}的元素符号。",
        "在化学里，{element}写作{symbol}。",
        "{element}这种元素用{symbol}表示。",
        "{symbol}表示{element}。",
        "看到{symbol}，就知道是{element}。",
        "化学课上，老师在黑板上写下{symbol}，它代表{element}。",
        "元素周期表里，{element}的格子写着{symbol}。",
        "{element}的符号是{symbol}。",
        "要写{element}的元素符号，就写{symbol}。",
    ),
    asks=(
        Ask(
            questions=(
                "{element}的元素符号是什么？",
                "{element}的化学符号是什么？",
                "{element}用什么符号表示？",
                "请问{element}的元素符号怎么写？",
                "你知道{element}的元素符号是什么吗？",
                "告诉我{element}的元素符号。",
            ),
            answer="{element}的元素符号是{symbol}。",
            short="{symbol}",
            topic="{element}的元素符号",
            follow_up="那{element}呢？",
            pronoun_question="它的元素符号是什么？",
            probe="{element}的符号是|{symbol}",
        ),
        Ask(
            questions=(
                "{symbol}是哪种元素的符号？",
                "{symbol}表示哪种元素？",
                "请问元素符号{symbol}代表什么元素？",
                "哪种元素的符号是{symbol}？",
            ),
            answer="{symbol}是{element}的元素符号。",
            short="{element}",
            topic="符号为{symbol}的元素",
            follow_up="那{symbol}呢？",
            probe="看到{symbol}，就知道是|{element}",
        ),
    ),
)

PLANET = Relation(
    name="行星次序",
    kind="行星",
    columns=("planet", "order"),
    rows=_PLANETS,
    statements=(
        "从太阳数起，{planet}是第{order}颗行星。",
        "从太阳数起，第{order}颗行星是{planet}。",
        "{planet}是离太阳由近到远的第{order}颗行星。",
        "按离太阳由近到远排，{planet}排在第{order}。",
        "太阳系的行星从里往外数，第{order}颗是{planet}。",
        "{planet}绕着太阳转，是由里往外的第{order}颗行星。",
        "在太阳系里，{planet}的次序是第{order}。",
        "第{order}颗行星叫{planet}，这是从太阳数起的。",
    ),
    asks=(
        Ask(
            questions=(
                "从太阳数起，{planet}是第几颗行星？",
                "{planet}是离太阳第几近的行星？",
                "按离太阳由近到远排，{planet}排第几？",
                "请问{planet}是太阳系的第几颗行星？",
            ),
            answer="从太阳数起，{planet}是第{order}颗行星。",
            short="第{order}颗",
            topic="{planet}在太阳系里的次序",
            follow_up="那{planet}呢？",
            pronoun_question="它是从太阳数起的第几颗行星？",
            probe="在太阳系里，{planet}的次序是第|{order}",
        ),
        Ask(
            questions=(
                "从太阳数起，第{order}颗行星是哪一颗？",
                "太阳系的第{order}颗行星叫什么？",
                "哪颗行星是从太阳数起的第{order}颗？",
                "请问离太阳由近到远的第{order}颗行星是什么？",
            ),
            answer="从太阳数起，第{order}颗行星是{planet}。",
            short="{planet}",
            topic="从太阳数起的第{order}颗行星",
            follow_up="那第{order}颗呢？",
            probe="太阳系的行星从里往外数，第{order}颗是|{planet}",
        ),
    ),
)

TERM_SEASON = Relation(
    name="节气季节",
    kind="节气",
    columns=("term", "season"),
    rows=rows_by_value(_BY_SEASON),
    statements=(
        "{term}是{season}的节气。",
        "{term}这个节气在{season}。",
        "{season}的节气里有{term}。",
        "二十四节气当中，{term}属于{season}。",
        "{season}有六个节气，{term}是其中之一。",
        "到了{term}，正是{season}。",
        "说到{term}，那是{season}的一个节气。",
        "{term}排在{season}的六个节气里。",
        "老人说，{term}是{season}的节气。",
    ),
    asks=(
        Ask(
            questions=(
                "{term}是哪个季节的节气？",
                "{term}在哪个季节？",
                "{term}属于哪个季节？",
                "请问{term}是哪个季节的节气？",
                "你知道{term}这个节气在哪个季节吗？",
            ),
            answer="{term}是{season}的节气。",
            short="{season}",
            topic="{term}所在的季节",
            follow_up="那{term}呢？",
            pronoun_question="它是哪个季节的节气？",
            probe="{term}这个节气在|{season}",
        ),
    ),
)

NEXT_TERM = Relation(
    name="节气次序",
    kind="节气",
    columns=("term", "next"),
    rows=tuple(zip(_TERMS, _TERMS[1:] + _TERMS[:1], strict=True)),
    statements=(
        "{term}的下一个节气是{next}。",
        "{next}是{term}的下一个节气。",
        "{term}过后就是{next}。",
        "{next}的前面是{term}。",
        "过了{term}这个节气，接着就是{next}。",
        "二十四节气当中，{next}紧跟在{term}后面。",
        "先有{term}，后有{next}，两个节气挨着。",
        "背节气的时候，{term}后面背{next}。",
        "{term}和{next}相连，{term}在前，{next}在后。",
    ),
    asks=(
        Ask(
            questions=(
                "{term}的下一个节气是什么？",
                "{term}后面的节气是哪一个？",
                "过了{term}是什么节气？",
                "请问{term}的下一个节气叫什么？",
                "哪个节气紧跟在{term}后面？",
            ),
            answer="{term}的下一个节气是{next}。",
            short="{next}",
            topic="{term}的下一个节气",
            follow_up="那{term}呢？",
            pronoun_question="它的下一个节气是什么？",
            probe="{term}过后就是|{next}",
        ),
    ),
)

RELATIONS = (
    CATEGORY,
    TASTE,
    COLOUR,
    PART,
    BLOOM,
    ELEMENT,
    PLANET,
    TERM_SEASON,
    NEXT_TERM,
)
