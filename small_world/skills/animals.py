"""动物：类别、食物、住处、腿数、怎样出生、本领、特征、叫声。"""

from small_world.skill import Ask, Relation, rows_by_value

_BY_CLASS = {
    "哺乳动物": "狗 猫 牛 羊 马 猪 兔子 老虎 狮子 狼 狐狸 猎豹 大象 长颈鹿 斑马 袋鼠 骆驼 梅花鹿 "
    "猴子 松鼠 老鼠 大熊猫 北极熊 刺猬 蝙蝠 海豚 蓝鲸 海豹 犀牛 河马 考拉 穿山甲 树懒 雪豹 水牛 驴",
    "鸟类": "麻雀 燕子 啄木鸟 猫头鹰 老鹰 企鹅 翠鸟 鸽子 公鸡 母鸡 鸭子 鹅 孔雀 鹦鹉 喜鹊 天鹅 丹顶鹤 "
    "鸵鸟 海鸥 乌鸦 大雁 布谷鸟",
    "昆虫": "蜜蜂 蝴蝶 蜻蜓 瓢虫 蚕 蝉 螳螂 蝗虫 蚊子 蚂蚁 萤火虫 蟋蟀",
    "爬行动物": "蛇 乌龟 鳄鱼 壁虎 变色龙",
    "两栖动物": "青蛙 娃娃鱼",
    "鱼类": "鲨鱼 金鱼 草鱼 带鱼 海马 比目鱼",
    "软体动物": "蜗牛 章鱼",
    "甲壳动物": "螃蟹 龙虾",
}

_BY_FOOD = {
    "草": "牛 羊 马 兔子 斑马 袋鼠 犀牛 河马 水牛 驴 骆驼 鹅",
    "肉": "老虎 狮子 狼 猎豹 鳄鱼 雪豹",
    "树叶": "长颈鹿 树懒 考拉",
    "竹子": "大熊猫",
    "桑叶": "蚕",
    "菜叶": "蜗牛",
    "水草": "天鹅 草鱼",
    "松果": "松鼠",
    "果子": "猴子",
    "谷子": "麻雀 鸽子",
    "粮食": "老鼠",
    "庄稼": "蝗虫",
    "种子": "鹦鹉",
    "花蜜": "蜜蜂 蝴蝶",
    "树的汁液": "蝉",
    "鱼": "海豚 海豹 企鹅 翠鸟 鲨鱼",
    "鱼虾": "海鸥 娃娃鱼",
    "海豹": "北极熊",
    "磷虾": "蓝鲸",
    "老鼠": "蛇 猫头鹰",
    "蚂蚁": "穿山甲",
    "蚜虫": "瓢虫",
    "飞虫": "燕子 蝙蝠 蜻蜓",
    "蚊虫": "壁虎",
    "虫子": "青蛙 啄木鸟 变色龙 螳螂 刺猬 布谷鸟",
}

_BY_HOME = {
    "森林里": "老虎 松鼠 梅花鹿 啄木鸟 猫头鹰",
    "草原上": "狮子 斑马 长颈鹿 犀牛 猎豹 袋鼠 鸵鸟",
    "沙漠里": "骆驼",
    "竹林里": "大熊猫",
    "高山上": "雪豹",
    "大海里": "海豚 蓝鲸 鲨鱼 章鱼 海马 带鱼 比目鱼 龙虾",
    "海边": "海鸥",
    "北极": "北极熊",
    "南极": "企鹅",
    "河里": "河马 草鱼",
    "鱼缸里": "金鱼",
    "池塘里": "青蛙",
    "溪流里": "娃娃鱼",
    "湖边": "天鹅",
    "沼泽里": "丹顶鹤",
    "树上": "猴子 考拉 树懒 蝉",
    "山洞里": "蝙蝠",
    "花丛中": "蝴蝶",
    "草丛里": "蟋蟀 螳螂 蝗虫",
    "蜂巢里": "蜜蜂",
    "蚁穴里": "蚂蚁",
    "屋檐下": "燕子",
    "羊圈里": "羊",
    "猪圈里": "猪",
    "牛棚里": "牛",
    "马棚里": "马",
    "鸡窝里": "公鸡 母鸡",
}

_BY_LEGS = {
    "两": "麻雀 燕子 啄木鸟 猫头鹰 老鹰 企鹅 鸽子 公鸡 母鸡 鸭子 鹅 孔雀 鹦鹉 喜鹊 天鹅 丹顶鹤 鸵鸟 海鸥 乌鸦",
    "四": "狗 猫 牛 羊 马 猪 兔子 老虎 狮子 狼 狐狸 猎豹 大象 长颈鹿 斑马 骆驼 梅花鹿 老鼠 "
    "大熊猫 北极熊 刺猬 犀牛 河马 乌龟 鳄鱼 壁虎 青蛙 驴",
    "六": "蜜蜂 蝴蝶 蜻蜓 瓢虫 蝉 螳螂 蝗虫 蚊子 蚂蚁 萤火虫 蟋蟀",
    "八": "蜘蛛",
}

_BY_BIRTH = {
    "胎生": "狗 猫 牛 羊 马 猪 兔子 老虎 狮子 狼 狐狸 大象 长颈鹿 斑马 袋鼠 骆驼 猴子 松鼠 老鼠 "
    "大熊猫 北极熊 蝙蝠 海豚 蓝鲸 河马",
    "卵生": "麻雀 燕子 企鹅 鸽子 母鸡 鸭子 鹅 孔雀 天鹅 鸵鸟 乌龟 鳄鱼 壁虎 青蛙 金鱼 蝴蝶 蜻蜓 蚕 蚂蚁",
}

_TALENTS = (
    ("猫", "抓老鼠"),
    ("狗", "看家"),
    ("牛", "耕田"),
    ("马", "拉车"),
    ("公鸡", "报晓"),
    ("母鸡", "下蛋"),
    ("鸭子", "游泳"),
    ("鸽子", "送信"),
    ("鹦鹉", "学人说话"),
    ("孔雀", "开屏"),
    ("啄木鸟", "给大树捉虫"),
    ("猫头鹰", "在夜里看东西"),
    ("燕子", "用泥做窝"),
    ("老鹰", "在高空飞翔"),
    ("蜜蜂", "采花酿蜜"),
    ("蚕", "吐丝"),
    ("蜘蛛", "结网"),
    ("蚂蚁", "搬东西"),
    ("萤火虫", "发光"),
    ("变色龙", "变颜色"),
    ("壁虎", "在墙上爬"),
    ("青蛙", "捉害虫"),
    ("猎豹", "快跑"),
    ("袋鼠", "跳远"),
    ("猴子", "爬树"),
    ("骆驼", "在沙漠里驮东西"),
    ("穿山甲", "打洞"),
    ("海豚", "跃出水面"),
    ("螃蟹", "横着走"),
)

_FEATURES = (
    ("大象", "长鼻子"),
    ("长颈鹿", "长脖子"),
    ("兔子", "长耳朵"),
    ("骆驼", "驼峰"),
    ("刺猬", "一身尖刺"),
    ("乌龟", "硬壳"),
    ("斑马", "黑白条纹"),
    ("袋鼠", "育儿袋"),
    ("孔雀", "漂亮的尾羽"),
    ("犀牛", "鼻子上的角"),
    ("螃蟹", "一对大钳子"),
    ("公鸡", "红红的鸡冠"),
    ("松鼠", "蓬松的大尾巴"),
    ("梅花鹿", "雪白的斑点"),
    ("章鱼", "八条腕足"),
    ("大熊猫", "黑眼圈"),
    ("丹顶鹤", "头上的红顶"),
    ("螳螂", "大刀一样的前腿"),
)

_SOUNDS = (
    ("狗", "汪汪"),
    ("猫", "喵喵"),
    ("牛", "哞哞"),
    ("羊", "咩咩"),
    ("猪", "哼哼"),
    ("狼", "嗷嗷"),
    ("老鼠", "吱吱"),
    ("公鸡", "喔喔"),
    ("母鸡", "咯咯"),
    ("鸭子", "嘎嘎"),
    ("麻雀", "叽叽喳喳"),
    ("鸽子", "咕咕"),
    ("布谷鸟", "布谷布谷"),
    ("青蛙", "呱呱"),
    ("蜜蜂", "嗡嗡"),
    ("蝉", "知了知了"),
    ("蟋蟀", "唧唧"),
)


CLASS = Relation(
    name="动物类别",
    kind="动物",
    columns=("animal", "class_"),
    rows=rows_by_value(_BY_CLASS),
    statements=(
        "{animal}是{class_}。",
        "{animal}属于{class_}。",
        "我们知道，{animal}是{class_}。",
        "{class_}有很多种，{animal}是其中一种。",
        "{class_}里有{animal}。",
        "在动物里，{animal}归在{class_}这一类。",
        "说到类别，{animal}是{class_}。",
        "书上把{animal}归为{class_}。",
        "老师说，{animal}是{class_}。",
        "{animal}这种动物属于{class_}。",
    ),
    asks=(
        Ask(
            questions=(
                "{animal}是哪一类动物？",
                "{animal}属于哪一类动物？",
                "{animal}属于什么类别？",
                "请问{animal}是哪一类动物？",
                "你知道{animal}属于哪一类动物吗？",
                "告诉我{animal}是哪一类动物。",
            ),
            answer="{animal}是{class_}。",
            short="{class_}",
            topic="{animal}的类别",
            follow_up="那{animal}呢？",
            pronoun_question="它是哪一类动物？",
            probe="在动物里，{animal}归在|{class_}",
        ),
    ),
)

FOOD = Relation(
    name="动物食物",
    kind="动物",
    columns=("animal", "food"),
    rows=rows_by_value(_BY_FOOD),
    statements=(
        "{animal}吃{food}。",
        "{animal}主要吃{food}。",
        "{animal}的食物是{food}。",
        "{food}是{animal}的食物。",
        "{animal}饿了，就去找{food}吃。",
        "{animal}靠吃{food}生活。",
        "{food}是{animal}最常吃的东西。",
        "说到吃的，{animal}吃{food}。",
        "{animal}喜欢吃{food}。",
        "对{animal}来说，{food}是很好的食物。",
    ),
    asks=(
        Ask(
            questions=(
                "{animal}吃什么？",
                "{animal}主要吃什么？",
                "{animal}喜欢吃什么？",
                "请问{animal}吃什么？",
                "你知道{animal}吃什么吗？",
                "什么是{animal}的食物？",
            ),
            answer="{animal}吃{food}。",
            short="{food}",
            topic="{animal}的食物",
            follow_up="那{animal}呢？",
            pronoun_question="它吃什么？",
            probe="{animal}的食物是|{food}",
        ),
    ),
)

HOME = Relation(
    name="动物住处",
    kind="动物",
    columns=("animal", "home"),
    rows=rows_by_value(_BY_HOME),
    statements=(
        "{animal}生活在{home}。",
        "{animal}住在{home}。",
        "{home}生活着{animal}。",
        "{home}能看到{animal}。",
        "{animal}的家在{home}。",
        "要找{animal}，就去{home}找。",
        "{home}是{animal}生活的地方。",
        "在{home}可以找到{animal}。",
        "{animal}这种动物常常生活在{home}。",
        "说到住处，{animal}的家在{home}。",
    ),
    asks=(
        Ask(
            questions=(
                "{animal}生活在哪里？",
                "{animal}住在哪里？",
                "{animal}生活在什么地方？",
                "请问{animal}生活在哪里？",
                "你知道{animal}生活在哪里吗？",
                "{animal}的家在哪里？",
            ),
            answer="{animal}生活在{home}。",
            short="{home}",
            topic="{animal}生活的地方",
            follow_up="那{animal}呢？",
            pronoun_question="它生活在哪里？",
            probe="说到住处，{animal}的家在|{home}",
        ),
    ),
)

LEGS = Relation(
    name="动物腿数",
    kind="动物",
    columns=("animal", "legs"),
    rows=rows_by_value(_BY_LEGS),
    statements=(
        "{animal}有{legs}条腿。",
        "{animal}一共有{legs}条腿。",
        "{animal}长着{legs}条腿。",
        "{animal}的腿有{legs}条。",
        "数一数，{animal}有{legs}条腿。",
        "{animal}身上长着{legs}条腿。",
        "有{legs}条腿的动物很多，{animal}就是一种。",
        "画{animal}的时候，要画{legs}条腿。",
        "{animal}不多不少，正好有{legs}条腿。",
    ),
    asks=(
        Ask(
            questions=(
                "{animal}有几条腿？",
                "{animal}一共有几条腿？",
                "{animal}长着几条腿？",
                "请问{animal}有几条腿？",
                "你知道{animal}有几条腿吗？",
            ),
            answer="{animal}有{legs}条腿。",
            short="{legs}条",
            topic="{animal}的腿数",
            follow_up="那{animal}呢？",
            pronoun_question="它有几条腿？",
            probe="{animal}的腿有|{legs}",
        ),
    ),
)

BIRTH = Relation(
    name="胎生卵生",
    kind="动物",
    columns=("animal", "birth"),
    rows=rows_by_value(_BY_BIRTH),
    statements=(
        "{animal}是{birth}动物。",
        "{animal}是{birth}的。",
        "{birth}的动物里有{animal}。",
        "{animal}这种动物是{birth}的。",
        "有的动物是{birth}的，{animal}就是这样。",
        "书上说，{animal}是{birth}动物。",
        "{animal}属于{birth}动物。",
        "{birth}动物有很多，{animal}是其中一种。",
        "说到胎生和卵生，{animal}是{birth}的。",
    ),
    asks=(
        Ask(
            questions=(
                "{animal}是胎生还是卵生？",
                "{animal}是卵生还是胎生？",
                "请问{animal}是胎生的还是卵生的？",
                "你知道{animal}是胎生还是卵生吗？",
                "告诉我{animal}是胎生还是卵生。",
            ),
            answer="{animal}是{birth}动物。",
            short="{birth}",
            topic="{animal}的出生方式",
            follow_up="那{animal}呢？",
            pronoun_question="它是胎生还是卵生？",
            probe="说到胎生和卵生，{animal}是|{birth}",
        ),
    ),
)

TALENT = Relation(
    name="动物本领",
    kind="动物",
    columns=("animal", "talent"),
    rows=_TALENTS,
    statements=(
        "{animal}会{talent}。",
        "{animal}的本领是{talent}。",
        "{animal}最拿手的本领是{talent}。",
        "{talent}是{animal}的本领。",
        "说到{talent}，人们会想到{animal}。",
        "动物各有各的本领，{animal}的本领是{talent}。",
        "{animal}有一样本领，就是{talent}。",
        "大家都知道{animal}会{talent}。",
        "{talent}这件事，{animal}很在行。",
        "要说{animal}的本领，那就是{talent}。",
    ),
    asks=(
        Ask(
            questions=(
                "{animal}的本领是什么？",
                "{animal}有什么本领？",
                "{animal}最拿手的本领是什么？",
                "请问{animal}有什么本领？",
                "你知道{animal}有什么本领吗？",
            ),
            answer="{animal}的本领是{talent}。",
            short="{talent}",
            topic="{animal}的本领",
            follow_up="那{animal}呢？",
            pronoun_question="它有什么本领？",
            probe="大家都知道{animal}会|{talent}",
        ),
    ),
)

FEATURE = Relation(
    name="动物特征",
    kind="动物",
    columns=("animal", "feature"),
    rows=_FEATURES,
    statements=(
        "{animal}最明显的特征是{feature}。",
        "{feature}是{animal}最明显的特征。",
        "说起{animal}的样子，大家先想到{feature}。",
        "{animal}的特征是{feature}。",
        "{animal}身上最引人注意的是{feature}。",
        "画{animal}的时候，不要忘了画{feature}。",
        "孩子们认识{animal}，靠的是{feature}。",
        "{animal}的样子很好认，因为有{feature}。",
        "{feature}让人一眼就认出{animal}。",
    ),
    asks=(
        Ask(
            questions=(
                "{animal}最明显的特征是什么？",
                "{animal}有什么特征？",
                "{animal}的特征是什么？",
                "请问{animal}有什么特征？",
                "你知道{animal}最明显的特征是什么吗？",
            ),
            answer="{animal}最明显的特征是{feature}。",
            short="{feature}",
            topic="{animal}的特征",
            follow_up="那{animal}呢？",
            pronoun_question="它有什么特征？",
            probe="{animal}身上最引人注意的是|{feature}",
        ),
    ),
)

SOUND = Relation(
    name="动物叫声",
    kind="动物",
    columns=("animal", "sound"),
    rows=_SOUNDS,
    statements=(
        "{animal}的叫声是“{sound}”。",
        "{animal}叫起来是“{sound}”。",
        "“{sound}”是{animal}的叫声。",
        "听到“{sound}”的声音，就知道是{animal}在叫。",
        "{animal}会“{sound}”地叫。",
        "“{sound}，{sound}”，{animal}叫个不停。",
        "“{sound}！”那是{animal}的叫声。",
        "远处传来“{sound}”的声音，是{animal}在叫。",
        "学{animal}叫，就要学“{sound}”。",
    ),
    asks=(
        Ask(
            questions=(
                "{animal}怎么叫？",
                "{animal}的叫声是什么？",
                "{animal}是怎么叫的？",
                "请问{animal}怎么叫？",
                "你知道{animal}怎么叫吗？",
                "{animal}叫起来是什么声音？",
            ),
            answer="{animal}的叫声是“{sound}”。",
            short="{sound}",
            topic="{animal}的叫声",
            follow_up="那{animal}呢？",
            pronoun_question="它怎么叫？",
            probe="{animal}的叫声是“|{sound}",
        ),
    ),
)

RELATIONS = (CLASS, FOOD, HOME, LEGS, BIRTH, TALENT, FEATURE, SOUND)
