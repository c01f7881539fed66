"""读与写：答案就在题目里的技能（读短文、照抄、改写、列举、打招呼……）。"""

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from small_world.skill import Exchange
from small_world.skills import wordlists as words


@dataclass(frozen=True)
class Task:
    """关于一份内容可以问的一件事：几种问法，一个答案。"""

    questions: tuple[str, ...]
    answer: str
    short: str | None = None
    topic: str | None = None
    follow_up: str | None = None


@dataclass(frozen=True)
class Scene:
    """一份内容（一段短文、一张清单、一道算式），以及怎样问它、怎样陈述它。

    Attributes:
        content: 内容的唯一写法，换了问法也不变；划分数据集时看它。
        tasks: 可以问的事。
        statements: 预训练用的陈述，同一技能的各份内容按同样的顺序排列句式。
        probes: （陈述句的开头，应当接上的词）。
    """

    content: str
    tasks: tuple[Task, ...]
    statements: tuple[str, ...]
    probes: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class SceneSkill:
    """由内容组成的技能：``draw`` 随机给出一份内容，指令数据用其中固定的 ``count`` 份。"""

    name: str
    draw: Callable[[random.Random], Scene]
    count: int = 400

    def scenes(self) -> Iterator[Scene]:
        """``count`` 份各不相同的内容，每次运行都一样。"""
        rng = random.Random(self.name)
        seen: set[str] = set()
        while len(seen) < self.count:
            scene = self.draw(rng)
            if scene.content not in seen:
                seen.add(scene.content)
                yield scene

    def exchanges(self) -> Iterator[list[Exchange]]:
        for scene in self.scenes():
            yield from self.exchanges_about(scene)

    def exchanges_about(self, scene: Scene) -> list[list[Exchange]]:
        """关于一份内容的全部问答。"""
        return [
            [
                Exchange(
                    group=f"{self.name}:{scene.content}",
                    question=question,
                    answer=task.answer,
                    short=task.short,
                    topic=task.topic,
                    follow_up=task.follow_up,
                )
                for question in task.questions
            ]
            for task in scene.tasks
        ]

    def document(self, rng: random.Random) -> str:
        """几份新内容，一半的时候全用同一种句式。"""
        scenes = [self.draw(rng) for _ in range(rng.randint(1, 6))]
        if rng.random() < 0.5:
            pattern = rng.randrange(100)
            return "".join(scene.statements[pattern % len(scene.statements)] for scene in scenes)
        return "".join(rng.choice(scene.statements) for scene in scenes)

    def questions(self, rng: random.Random) -> list[str]:
        task = rng.choice(self.draw(rng).tasks)
        return rng.sample(task.questions, min(len(task.questions), rng.randint(1, 3)))

    def probes(self) -> Iterator[tuple[str, str]]:
        for scene in self.scenes():
            yield from scene.probes


_PASSAGE_FORMS = (
    "{passage}{question}",
    "{passage}请问，{question}",
    "读一读：{passage}{question}",
    "根据短文回答：{passage}{question}",
    "“{passage}”{question}",
    "{passage}读完这段话，请告诉我：{question}",
)
_CONCLUSIONS = ("所以", "这就是说，", "也就是说，", "由此可知，", "我们知道，", "可见，", "")


def _asked(rng: random.Random, passage: str, *questions: str) -> tuple[str, ...]:
    """短文和问题的四种合写。"""
    forms = rng.sample(_PASSAGE_FORMS, 4)
    return tuple(form.format(passage=passage, question=rng.choice(questions)) for form in forms)


def _told(instructions: tuple[str, ...], text: str) -> tuple[str, ...]:
    return tuple(instruction.format(text) for instruction in instructions)


def _passage_scene(rng: random.Random, passage: str, tasks: tuple[Task, ...], *retellings: str) -> Scene:
    """短文的陈述：短文后面接着由它得出的一两句话，或者换个说法再讲一遍。"""
    answers = rng.sample([task.answer for task in tasks], 2)
    concluded = passage + rng.choice(_CONCLUSIONS) + answers[0]
    statements = (concluded, concluded + answers[1], passage, *(passage + retelling for retelling in retellings))
    return Scene(passage, tasks, statements)


# ---- 短文：谁、什么时候、在哪里、做什么 ----


def _event(rng: random.Random) -> tuple[str, str]:
    place = rng.choice(words.PLACES)
    return place, rng.choice(words.ACTIVITIES[place])


def _who_where_what(rng: random.Random) -> Scene:
    who, other = words.people(rng, 2)
    place, activity = _event(rng)
    other_place, other_activity = _event(rng)
    while other_place == place or other_activity == activity:
        other_place, other_activity = _event(rng)
    time = rng.choice(words.TIMES)
    first = rng.choice((f"{time}，{who}在{place}{activity}。", f"{who}{time}在{place}{activity}。"))
    second = rng.choice((f"{other}在{other_place}{other_activity}。", ""))
    passage = rng.choice((first + second, second + first)) if first.startswith(who) else first + second
    tasks = (
        Task(
            _asked(rng, passage, f"谁在{place}{activity}？", f"在{place}{activity}的是谁？"),
            f"在{place}{activity}的是{who}。",
            who,
        ),
        Task(
            _asked(rng, passage, f"{who}在哪里{activity}？", f"{who}{activity}的地方是哪里？"),
            f"{who}{activity}的地方是{place}。",
            place,
        ),
        Task(
            _asked(rng, passage, f"{who}在{place}做什么？", f"{who}在{place}干什么？"),
            f"{who}在{place}{activity}。",
            activity,
        ),
        Task(
            _asked(rng, passage, f"{who}什么时候在{place}{activity}？", f"{who}在{place}{activity}是什么时候？"),
            f"{who}在{place}{activity}是{time}。",
            time,
        ),
    )
    return _passage_scene(
        rng,
        passage,
        tasks,
        f"{activity}的人是{who}，地方是{place}，时间是{time}。",
        f"那时要找{who}，得去{place}，{who}正在那里{activity}。",
        f"后来{who}写日记：“{time}，我在{place}{activity}。”",
        f"{who}说：“我在{place}{activity}。”{who}没有说错，{who}真的在{place}{activity}。",
    )


# ---- 短文：买东西 ----


def _shopping(rng: random.Random) -> Scene:
    who, other = words.people(rng, 2)
    shop = rng.choice(tuple(words.SHOPS))
    item = rng.choice(words.SHOPS[shop])
    count = rng.choice(words.COUNT_WORDS[1:6]) + words.MEASURES[item]
    passage = rng.choice(
        (
            f"{who}去{shop}买了{count}{item}，送给{other}。",
            f"{who}在{shop}买了{count}{item}，打算送给{other}。",
            f"{other}要过生日了，{who}到{shop}买了{count}{item}送给{other}。",
        )
    )
    tasks = (
        Task(_asked(rng, passage, f"{who}买了什么？", f"{who}在{shop}买了什么？"), f"{who}买了{count}{item}。", item),
        Task(
            _asked(rng, passage, f"{item}是在哪里买的？", f"{who}在哪里买的{item}？"), f"{item}是在{shop}买的。", shop
        ),
        Task(_asked(rng, passage, f"{item}是谁买的？", f"谁买了{item}？"), f"{item}是{who}买的。", who),
        Task(_asked(rng, passage, f"{item}是送给谁的？", f"{who}把{item}送给谁？"), f"{item}是送给{other}的。", other),
    )
    return _passage_scene(
        rng,
        passage,
        tasks,
        f"{other}收到{count}{item}，对{who}说：“谢谢{who}！”",
        f"{count}{item}都是{who}从{shop}买来的。",
        f"{who}对{other}说：“这{count}{item}送给你。”",
    )


# ---- 短文：东西在哪里 ----


def _locations(rng: random.Random) -> Scene:
    first, second = rng.sample(words.OBJECT_NAMES, 2)
    spot, other_spot = rng.sample(words.SPOTS, 2)
    owner = words.person(rng)
    passage = rng.choice(
        (
            f"{first}在{spot}，{second}在{other_spot}。",
            f"{spot}有{first}，{other_spot}有{second}。",
            f"{owner}把{first}放在{spot}，把{second}放在{other_spot}。",
        )
    )
    tasks = tuple(
        task
        for item, place in ((first, spot), (second, other_spot))
        for task in (
            Task(_asked(rng, passage, f"{item}在哪里？", f"{item}在什么地方？"), f"{item}在{place}。", place),
            Task(
                _asked(rng, passage, f"{place}有什么？", f"什么东西在{place}？", f"在{place}的是什么？"),
                f"{place}有{item}。",
                item,
            ),
        )
    )
    return _passage_scene(
        rng,
        passage,
        tasks,
        f"要用{first}，就去{spot}拿；要用{second}，就去{other_spot}拿。",
        f"{spot}的是{first}，{other_spot}的是{second}。",
        f"过了几天，{first}还在{spot}，{second}也还在{other_spot}。",
    )


# ---- 短文：介绍一个人 ----


def _biography(rng: random.Random) -> Scene:
    who = words.child(rng)
    town, age, hobby = rng.choice(words.TOWNS), rng.choice(words.AGES), rng.choice(words.HOBBIES)
    animal, measure = rng.choice(words.PETS)
    pet = rng.choice(words.PET_NAMES)
    passage = rng.choice(
        (
            f"{who}今年{age}岁，住在{town}，喜欢{hobby}，养了一{measure}{animal}，名叫{pet}。",
            f"{who}住在{town}，今年{age}岁。{who}喜欢{hobby}，家里有一{measure}{animal}，名叫{pet}。",
            f"{town}有个孩子叫{who}，今年{age}岁，喜欢{hobby}。{who}的{animal}名叫{pet}。",
        )
    )
    tasks = (
        Task(_asked(rng, passage, f"{who}住在哪里？", f"{who}的家在哪里？"), f"{who}住在{town}。", town),
        Task(_asked(rng, passage, f"{who}今年几岁？", f"{who}多大了？"), f"{who}今年{age}岁。", f"{age}岁"),
        Task(_asked(rng, passage, f"{who}喜欢做什么？", f"{who}的爱好是什么？"), f"{who}喜欢{hobby}。", hobby),
        Task(
            _asked(rng, passage, f"{who}的{animal}叫什么名字？", f"{who}的{animal}叫什么？"),
            f"{who}的{animal}叫{pet}。",
            pet,
        ),
    )
    return _passage_scene(
        rng,
        passage,
        tasks,
        f"说起{who}，{town}的人都知道：这孩子{age}岁，喜欢{hobby}。",
        f"{pet}是{who}的{animal}，它也住在{town}。",
        f"{who}自我介绍说：“我叫{who}，今年{age}岁，家在{town}，我喜欢{hobby}。”",
        f"姓名：{who}；年龄：{age}岁；住处：{town}；爱好：{hobby}。",
    )


# ---- 短文：两个人各有各的 ----


def _contrast(rng: random.Random) -> Scene:
    who, other = words.people(rng, 2)
    verb, question, pool = rng.choice(
        (
            ("喜欢", "喜欢什么", words.COLORS),
            ("喜欢", "喜欢什么", words.HOBBIES),
            ("爱吃", "爱吃什么", words.FOODS),
            ("爱喝", "爱喝什么", words.DRINKS),
            ("想买", "想买什么", words.OBJECT_NAMES),
            ("带来了", "带来了什么", words.OBJECT_NAMES),
            ("在找", "在找什么", words.OBJECT_NAMES),
        )
    )
    first, second = rng.sample(pool, 2)
    passage = rng.choice(
        (f"{who}{verb}{first}，{other}{verb}{second}。", f"{who}{verb}{first}。{other}{verb}{second}。")
    )
    tasks = tuple(
        task
        for name, thing in ((who, first), (other, second))
        for task in (
            Task(_asked(rng, passage, f"{name}{question}？"), f"{name}{verb}{thing}。", thing),
            Task(
                _asked(rng, passage, f"谁{verb}{thing}？", f"{verb}{thing}的是谁？"), f"{verb}{thing}的是{name}。", name
            ),
        )
    )
    return _passage_scene(
        rng,
        passage,
        tasks,
        f"{verb}{first}的是{who}，{verb}{second}的是{other}。",
        f"{other}{verb}的不是{first}，是{second}；{who}{verb}的不是{second}，是{first}。",
    )


# ---- 转交以后东西在谁手里 ----


def _transfer(rng: random.Random) -> Scene:
    first, second, third = words.people(rng, 3)
    item, other_item = rng.sample(words.OBJECT_NAMES, 2)
    verb, next_verb = rng.sample(words.GIVING[:4], 2)
    kind = rng.randrange(4)
    if kind == 0:
        passage, holder = f"{first}把{item}{verb}了{second}，{second}又把{item}{next_verb}了{third}。", third
    elif kind == 1:
        passage, holder = f"{first}把{item}{verb}了{second}，把{other_item}{next_verb}了{third}。", second
    elif kind == 2:
        passage, holder = f"{second}从{first}那里拿到了{item}。", second
    else:
        passage, holder = f"{first}把{item}{rng.choice(words.GIVING)}了{second}。", second
    tasks = (
        Task(
            _asked(rng, passage, f"现在{item}在谁那里？", f"{item}现在在谁那里？", f"现在谁有{item}？"),
            f"{item}现在在{holder}那里。",
            holder,
        ),
        Task(
            _asked(rng, passage, f"{item}原来在谁那里？", f"一开始谁有{item}？", f"{item}本来在谁那里？"),
            f"{item}原来在{first}那里。",
            first,
        ),
    )
    return _passage_scene(
        rng,
        passage,
        tasks,
        f"{holder}拿着{item}走了。",
        f"{first}没有{item}了，{holder}有{item}。",
        f"想看{item}，不能找{first}，要找{holder}。",
    )


# ---- 照抄 ----

_REPEAT = (
    "请重复这句话：{}",
    "照着说一遍：{}",
    "跟我读：{}",
    "把这句话原样说一遍：{}",
    "请抄写：{}",
    "{}请把前面的话再说一遍。",
)


def _sentence(rng: random.Random) -> str:
    """一句普通的话。"""
    who, other = words.people(rng, 2)
    place, activity = _event(rng)
    item = rng.choice(words.OBJECT_NAMES)
    verb, thing = words.handled(rng)
    return rng.choice(
        (
            f"{who}在{place}{activity}。",
            f"{rng.choice(words.TIMES)}，{who}去{place}{activity}。",
            f"{who}把{item}放在{rng.choice(words.SPOTS)}。",
            f"{who}有{words.counted(rng, item)}。",
            f"{who}和{other}一起{activity}。",
            f"{who}把{item}送给{other}。",
            f"{who}{verb}了{thing}。",
            f"{other}喜欢{rng.choice(words.HOBBIES)}。",
            f"{who}家在{rng.choice(words.TOWNS)}。",
            f"{rng.choice(words.SPOTS)}有{words.counted(rng, item)}。",
        )
    )


def _repeat_sentence(rng: random.Random) -> Scene:
    sentence = _sentence(rng)
    pupil = words.person(rng)
    task = Task(_told(_REPEAT, sentence), sentence)
    return Scene(
        sentence,
        (task,),
        (
            sentence * rng.randint(2, 3),
            f"老师说：“{sentence}”{pupil}跟着说：“{sentence}”",
            f"黑板上写着：“{sentence}”{pupil}在本子上抄写：“{sentence}”",
            f"{pupil}说：“{sentence}”我没听清，{pupil}又说了一遍：“{sentence}”",
            f"原文：{sentence}抄写：{sentence}",
            f"“{sentence}”“{sentence}”大家齐声读了两遍。",
        ),
    )


def _words(rng: random.Random, count: int) -> list[str]:
    """同一类里的几个不同的词。"""
    pools = (words.OBJECT_NAMES, words.FOODS, words.NICKNAMES, words.FULL_NAMES, words.TOWNS, words.PLACES, words.JOBS)
    return rng.sample(rng.choice((*pools, words.COLORS, words.HOBBIES, words.PET_NAMES)), count)


def _repeat_word(rng: random.Random) -> Scene:
    word = _words(rng, 1)[0]
    instructions = (
        "请重复这个词：{}",
        "请把“{}”这个词说一遍。",
        "跟我读：{}",
        "请抄写这个词：{}",
        "“{}”，请照着念。",
    )
    task = Task(_told(instructions, word), f"“{word}”。", word)
    return Scene(
        word,
        (task,),
        (
            f"{word}，{word}，{word}。",
            f"词语：“{word}”。再写一遍：“{word}”。",
            f"老师念“{word}”，大家也念“{word}”。",
            f"纸上写着“{word}”，我照着念：“{word}”。",
        ),
    )


def _dictation(rng: random.Random) -> Scene:
    characters = "、".join(rng.sample(words.CHARACTERS, rng.randint(2, 4)))
    pupil = words.person(rng)
    instructions = (
        "请抄写这几个字：{}。",
        "照样子写一遍：{}。",
        "把这些字抄下来：{}。",
        "这几个字是{}，请再写一遍。",
    )
    return Scene(
        characters,
        (Task(_told(instructions, characters), f"{characters}。"),),
        (
            f"{characters}。{characters}。",
            f"老师写了几个字：{characters}。{pupil}抄写：{characters}。",
            f"{pupil}今天学了这几个字：{characters}。晚上{pupil}又写了一遍：{characters}。",
            f"第一行：{characters}。第二行：{characters}。第三行：{characters}。",
        ),
    )


def _first_character(rng: random.Random) -> Scene:
    word = _words(rng, 1)[0]
    while len(word) < 2:
        word = _words(rng, 1)[0]
    tasks = tuple(
        Task(
            (
                f"“{word}”的{which}是什么？",
                f"“{word}”这个词的{which}是什么？",
                f"请写出“{word}”的{which}。",
                f"请问“{word}”的{which}是哪个？",
            ),
            f"“{word}”的{which}是“{character}”。",
            character,
        )
        for which, character in (("第一个字", word[0]), ("最后一个字", word[-1]))
    )
    return Scene(
        word,
        tasks,
        (
            f"“{word}”的第一个字是“{word[0]}”，最后一个字是“{word[-1]}”。",
            f"“{word}”的第一个字是“{word[0]}”。",
            f"“{word}”的最后一个字是“{word[-1]}”。",
            f"“{word}”这个词从“{word[0]}”字开始，到“{word[-1]}”字结束。",
            f"写“{word}”，先写“{word[0]}”，" + "".join(f"再写“{character}”，" for character in word[1:]) + "就写好了。",
        ),
    )


# ---- 把字句、被字句 ----


def _ba_bei(rng: random.Random) -> Scene:
    who = words.person(rng)
    verb, thing = words.handled(rng)
    plain, ba, bei = f"{who}{verb}了{thing}。", f"{who}把{thing}{verb}了。", f"{thing}被{who}{verb}了。"

    def rewriting(source: str, kind: str, target: str) -> Task:
        instructions = (
            f"把句子改成{kind}字句：{{}}",
            f"请改写成“{kind}”字句：{{}}",
            f"用“{kind}”字说这句话：{{}}",
            f"{{}}这句话用“{kind}”字怎么说？",
        )
        return Task(_told(instructions, source), target)

    tasks = (
        rewriting(plain, "把", ba),
        rewriting(plain, "被", bei),
        rewriting(ba, "被", bei),
        rewriting(bei, "把", ba),
    )
    return Scene(
        plain,
        tasks,
        (
            f"{plain}{ba}{bei}",
            f"{ba}{bei}",
            f"{bei}{ba}",
            f"“{plain[:-1]}”用“把”字说是“{ba[:-1]}”，用“被”字说是“{bei[:-1]}”。",
            f"{plain}用“把”字说：{ba}",
            f"{plain}用“被”字说：{bei}",
            f"把字句：{ba}被字句：{bei}",
            f"{bei}{who}很快说出了经过：是我把{thing}{verb}了。",
        ),
    )


# ---- 肯定句、否定句 ----


def _polar(rng: random.Random) -> tuple[str, str]:
    """一句肯定的话和它的否定。"""
    who = words.child(rng)
    place, activity = _event(rng)
    item = rng.choice(words.OBJECT_NAMES)
    return rng.choice(
        (
            (f"{who}会{(skill := rng.choice(words.ABILITIES))}。", f"{who}不会{skill}。"),
            (f"{who}喜欢{(hobby := rng.choice(words.HOBBIES))}。", f"{who}不喜欢{hobby}。"),
            (f"{who}爱吃{(food := rng.choice(words.FOODS))}。", f"{who}不爱吃{food}。"),
            (f"{who}是{(job := rng.choice(words.JOBS))}。", f"{who}不是{job}。"),
            (f"{who}在{place}。", f"{who}不在{place}。"),
            (f"{who}有{item}。", f"{who}没有{item}。"),
            (f"{who}想去{place}{activity}。", f"{who}不想去{place}{activity}。"),
            (f"{item}在{(spot := rng.choice(words.SPOTS))}。", f"{item}不在{spot}。"),
            (f"{who}住在{(town := rng.choice(words.TOWNS))}。", f"{who}不住在{town}。"),
            (f"{who}认识{(friend := rng.choice(words.TITLED_NAMES))}。", f"{who}不认识{friend}。"),
        )
    )


def _negation(rng: random.Random) -> Scene:
    positive, negative = _polar(rng)

    def turning(source: str, kind: str, target: str) -> Task:
        instructions = (
            f"把句子改成{kind}句：{{}}",
            f"请改写成{kind}句：{{}}",
            f"{{}}请改成{kind}的说法。",
            f"这句话的{kind}说法是什么？{{}}",
        )
        return Task(_told(instructions, source), target)

    return Scene(
        positive,
        (turning(positive, "否定", negative), turning(negative, "肯定", positive)),
        (
            f"有人说：“{positive}”其实，{negative}",
            f"肯定句：{positive}否定句：{negative}",
            f"“{positive[:-1]}”和“{negative[:-1]}”的意思正好相反。",
            f"以前，{positive}现在，{negative}",
            f"以前，{negative}现在，{positive}",
            f"“{negative}”这句话去掉“不”或“没”，就是“{positive}”",
            f"有人说：“{negative}”我说：“{positive}”",
        ),
    )


# ---- 评价的态度 ----


def _sentiment(rng: random.Random) -> Scene:
    thing = rng.choice(tuple(words.REVIEWS))
    pleased = rng.random() < 0.5
    comments = words.REVIEWS[thing][0 if pleased else 1]
    who = words.person(rng)
    review = rng.choice((f"说到{thing}，{{}}。", f"{thing}{{}}。", f"{thing}{{}}！")).format(rng.choice(comments))
    verdict = "很满意" if pleased else "不满意"
    instructions = (
        f"{who}写道：“{{}}”{who}对{thing}满意吗？",
        f"“{{}}”写这句话的{who}是什么态度？",
        f"{who}说：“{{}}”请判断{who}对{thing}的态度。",
        f"判断{who}对{thing}满意还是不满意：“{{}}”",
    )
    return Scene(
        f"{who}说{review}",
        (Task(_told(instructions, review), f"{who}对{thing}{verdict}。", verdict),),
        (
            f"{who}说：“{review}”看来{who}对{thing}{verdict}。",
            f"{who}写道：“{review}”{who}对{thing}{verdict}。",
            f"{who}对{thing}{verdict}，说：“{review}”",
            f"“{review}”这是{who}的评价，态度是{verdict}。",
        ),
    )


# ---- 清单：第一个、最后一个、倒序、个数、用“和”连接 ----


def _list(rng: random.Random) -> Scene:
    items = _words(rng, rng.randint(2, 4))
    text = "、".join(items)
    backwards = "、".join(reversed(items))
    count = words.COUNT_WORDS[len(items) - 1]
    tasks = (
        Task(
            (
                f"{text}，第一个词是什么？",
                f"“{text}”中，排在第一的是什么？",
                f"请说出第一个词：{text}。",
                f"{text}，排在最前面的是什么？",
            ),
            f"第一个词是{items[0]}。",
            items[0],
        ),
        Task(
            (
                f"{text}，最后一个词是什么？",
                f"“{text}”中，排在最后的是什么？",
                f"请说出最后一个词：{text}。",
                f"{text}，排在末尾的是什么？",
            ),
            f"最后一个词是{items[-1]}。",
            items[-1],
        ),
        Task(
            (
                f"{text}，一共有几个词？",
                f"数一数有几个词：{text}。",
                f"“{text}”里有几个词？",
                f"请数出词的个数：{text}。",
            ),
            f"{text}，一共有{count}个词。",
            f"{count}个",
        ),
        Task(
            (
                f"把{text}倒过来说。",
                f"请把顺序倒过来：{text}。",
                f"{text}，请从后往前说。",
                f"反着说一遍：{text}。",
            ),
            f"倒过来是{backwards}。",
            backwards,
        ),
    )
    return Scene(
        text,
        tasks,
        (
            f"{text}，第一个词是{items[0]}，最后一个词是{items[-1]}。",
            f"{text}，倒过来是{backwards}。",
            f"{text}，一共有{count}个词。",
            f"{text}，这{count}个词里，排在最前面的是{items[0]}，排在最后的是{items[-1]}。",
            f"从前往后说：{text}。从后往前说：{backwards}。",
            "".join(f"第{words.DIGIT_WORDS[place]}个是{item}，" for place, item in enumerate(items, 1))
            + f"一共有{count}个词。",
            f"清单：{text}。再念一遍：{text}。",
        ),
    )


def _join(rng: random.Random) -> Scene:
    first, second = _words(rng, 2)
    instructions = (
        f"用“和”把{first}、{second}连起来。",
        f"请用“和”连接{first}、{second}。",
        f"{first}，{second}，用“和”连起来怎么说？",
        f"把“{first}”“{second}”用“和”连成一句。",
    )
    return Scene(
        "和".join(sorted((first, second))),
        (Task(instructions, f"{first}和{second}。"),),
        (
            f"{first}、{second}，连起来是{first}和{second}。",
            f"这里有两个词：{first}，{second}。用“和”连起来说：{first}和{second}。",
            f"{first}和{second}，{second}和{first}，说的是一样的。",
            f"一个是{first}，一个是{second}，合起来是{first}和{second}。",
        ),
    )


# ---- 填表、找人名地名 ----


def _form(rng: random.Random) -> Scene:
    who, town, age = words.child(rng), rng.choice(words.TOWNS), rng.choice(words.AGES)
    hobby = rng.choice(words.HOBBIES)
    columns = rng.choice(
        (
            (("年龄", f"{age}岁", f"今年{age}岁"), ("住处", town, f"住在{town}")),
            (("年龄", f"{age}岁", f"今年{age}岁"), ("爱好", hobby, f"喜欢{hobby}")),
            (("住处", town, f"住在{town}"), ("爱好", hobby, f"喜欢{hobby}")),
            (("爱好", hobby, f"喜欢{hobby}"),),
        )
    )
    sentence = who + "，".join(phrase for *_, phrase in columns) + "。"
    table = f"姓名：{who}；" + "；".join(f"{label}：{value}" for label, value, _ in columns) + "。"
    labels = "、".join(("姓名", *(label for label, *_ in columns)))
    tasks = (
        Task(
            (
                f"根据这句话填写{labels}：{sentence}",
                f"{sentence}请填表：{labels}。",
                f"请把这句话整理成表格，写出{labels}：{sentence}",
                f"{sentence}请按{labels}的顺序整理。",
            ),
            table,
        ),
        Task(
            (
                f"根据表格写一句话：{table}",
                f"{table}请用一句话介绍{who}。",
                f"请把表格写成一句话：{table}",
                f"{table}请说成一句完整的话。",
            ),
            sentence,
        ),
    )
    return Scene(
        table,
        tasks,
        (
            f"{sentence}{table}",
            f"{table}{sentence}",
            f"{sentence}登记表上这样写：{table}",
            f"表格写着：{table}也就是说，{sentence}",
        ),
    )


def _names(rng: random.Random) -> Scene:
    first, second = words.people(rng, 2)
    town = rng.choice(words.TOWNS)
    activity = rng.choice(words.HOBBIES)
    sentence = rng.choice(
        (
            f"{first}和{second}在{town}{activity}。",
            f"{first}到{town}找{second}{activity}。",
            f"{rng.choice(words.TIMES)}，{first}跟{second}在{town}{activity}。",
            f"{first}写信告诉{second}，自己搬到{town}了。",
            f"{first}要去{town}，{second}送{first}上车。",
        )
    )
    tasks = (
        Task(
            (
                f"找出句子里的人名：{sentence}",
                f"{sentence}这句话里有哪些人名？",
                f"请写出这句话提到的人：{sentence}",
                f"{sentence}这里提到了哪两个人？",
            ),
            f"提到的人是{first}和{second}。",
            f"{first}和{second}",
        ),
        Task(
            (
                f"找出句子里的地名：{sentence}",
                f"{sentence}这句话里的地名是什么？",
                f"请写出这句话提到的地方：{sentence}",
                f"{sentence}这里提到了什么地方？",
            ),
            f"提到的地方是{town}。",
            town,
        ),
    )
    return Scene(
        sentence,
        tasks,
        (
            f"{sentence}这句话提到的人是{first}和{second}，提到的地方是{town}。",
            f"{sentence}提到的人是{first}和{second}。",
            f"{sentence}提到的地方是{town}。",
            f"{sentence}人名：{first}、{second}；地名：{town}。",
        ),
    )


# ---- 称呼与留言 ----

_GREETINGS = (
    ("打招呼", "跟{}打个招呼。", "请向{}问好。", "遇到{}，怎么打招呼？", "{}来了，请打个招呼。", "你好，{}！"),
    ("告别", "跟{}说再见。", "请向{}告别。", "{}要走了，该说什么？", "怎么跟{}道别？", "再见，{}！"),
    ("道谢", "请感谢{}。", "向{}道谢。", "{}帮了你，该说什么？", "怎么对{}表示感谢？", "谢谢你，{}！"),
    ("道歉", "请向{}道歉。", "跟{}说声对不起。", "你撞到了{}，该说什么？", "怎么向{}道歉？", "对不起，{}！"),
    (
        "祝生日",
        "祝{}生日快乐。",
        "今天{}过生日，说句祝福吧。",
        "{}过生日，该说什么？",
        "怎么祝{}生日快乐？",
        "{}，祝你生日快乐！",
    ),
    ("祝新年", "给{}拜年。", "新年到了，祝福{}。", "过年见到{}，该说什么？", "请祝{}新年快乐。", "{}，祝你新年快乐！"),
)


def _greeting(rng: random.Random) -> Scene:
    who, other = words.people(rng, 2)
    kinds = rng.sample(_GREETINGS, 2)
    tasks = tuple(Task(_told(tuple(questions), who), answer.format(who)) for _, *questions, answer in kinds)
    answer = tasks[0].answer
    return Scene(
        who,
        tasks,
        (
            f"{other}走到{who}面前，说：“{answer}”",
            f"{other}对{who}说：“{answer}”{who}笑了。",
            f"“{answer}”{other}大声对{who}说。",
            f"{kinds[0][0]}的时候，{other}对{who}说：“{answer}”",
            f"{other}先对{who}说：“{answer}”又说：“{tasks[1].answer}”",
        ),
    )


def _note(rng: random.Random) -> Scene:
    writer, reader = words.people(rng, 2)
    place, activity = _event(rng)
    if rng.random() < 0.5:
        message, body = f"在{place}{activity}", f"我在{place}{activity}"
    else:
        message, body = f"去{place}了", f"我去{place}了"
    note = f"{reader}：{body}。{writer}。"
    instructions = (
        f"替{writer}给{reader}写张留言条，说{writer}{message}。",
        f"{writer}想告诉{reader}自己{message}，请写一张留言条。",
        f"请写留言条：{writer}告诉{reader}，自己{message}。",
        f"{writer}{message}，请给{reader}留个条。",
    )
    return Scene(
        note,
        (Task(instructions, note),),
        (
            f"{writer}{message}，给{reader}留了个条：“{note}”",
            f"桌上有张留言条：“{note}”{reader}看了，就知道{writer}{message}。",
            f"留言条上写着：“{note}”这是{writer}写给{reader}的。",
        ),
    )


SKILLS = (
    SceneSkill("短文活动", _who_where_what),
    SceneSkill("短文购物", _shopping),
    SceneSkill("短文位置", _locations),
    SceneSkill("短文介绍", _biography),
    SceneSkill("短文对比", _contrast),
    SceneSkill("转交", _transfer),
    SceneSkill("重复句子", _repeat_sentence),
    SceneSkill("重复词语", _repeat_word, 300),
    SceneSkill("抄写", _dictation, 300),
    SceneSkill("首尾字", _first_character, 300),
    SceneSkill("把被", _ba_bei),
    SceneSkill("否定", _negation),
    SceneSkill("态度", _sentiment),
    SceneSkill("清单", _list),
    SceneSkill("连接", _join, 300),
    SceneSkill("填表", _form),
    SceneSkill("找名字", _names),
    SceneSkill("称呼", _greeting, 300),
    SceneSkill("留言", _note, 300),
)
