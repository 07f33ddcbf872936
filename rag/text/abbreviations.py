"""Abbreviations, and words that begin sentences, of the languages with an alphabet.

They are one list for all languages: a text is not told its language, and one abbreviation is seldom
a word of another language that ends sentences. Those that are stand among `SELDOM_LAST` and
`BEFORE_NUMBERS`.
"""

# ruff: noqa: RUF001 - words in their own scripts
from __future__ import annotations


def _words(*listed: str) -> frozenset[str]:
    return frozenset(" ".join(listed).split())


NEVER_LAST = _words(
    "dr mr mrs prof gen sen rep gov hon rev sgt capt lt col messrs mme mlle mmes mlles fig",
    "figs eq eqs sec secs ch chap vol pp ed eds ref refs cf vs viz approx ca resp incl excl e.g",
    "eg i.e ie",
    # German
    "abb abs abschn abt anl anm aufl ausg az bd betr bes bspw bzgl bzw dipl einschl entspr evtl",
    "exkl geb gez ggf ggfs hr hrn hrsg ing inkl jg kap lfd mind mio mrd nr nrn rd sog tel",
    "tsd verf vgl ziff zi zit zzgl z.b d.h u.a u.u o.g s.o s.u i.d.r i.a i.e z.t v.a u.e m.e z.z",
    "z.hd zb dh",
    # French
    "dre pr éd env tél réf chap fasc p.ex av.j.-c",
    # Spanish
    "sr sra sres sras srta dra ud uds vd vds núm núms pág págs avda tlfn ej p.ej lic arq dña cía",
    "ee sta sto",
    # Italian
    "sig sigg sig.ra sig.na dott dott.ssa ing avv geom rag pag pagg tav ill.mo spett egr",
    # Portuguese
    "exa exmo exma profa eng enga cel p.ex",
    # Dutch
    "dhr mevr mej drs mr bijv bv blz nrs o.a m.b.t d.w.z m.i.v t.a.v t.o.v zgn ong afb",
    # Polish
    "mgr inż hab np tj tzn tzw ul pl zob por str poz rys godz św płk gen lek",
    # Russian, Ukrainian, Bulgarian
    "г-н г-жа гл рис стр см ср ул просп пер пл обл акад проф доц тов т.е т.к им св напр тел кв",
    "корп табл",
    # Greek
    "κ κα κος βλ σελ αρ αριθ δρ καθ εικ πίν π.χ δηλ τηλ λεωφ παρ",
    # Turkish
    "bkz yrd doç av örn müh öğr sn",
    # Hindi
    "डॉ प्रो पं पृ सं रु कु श्रीम",
)
"""Abbreviations that never end a sentence."""
SELDOM_LAST = _words(
    # also words of another language, which do end sentences: in the yard, the app, press Tab
    "yard ok im es al app tab gem cod ms ir os",
    "etc inc ltd co corp st bros jr ph.d a.m p.m dept univ max min jan feb febr apr aug sept",
    "sep oct okt nov dec dez mon tue wed thu fri sat sun",
    # German, Dutch
    "usw uvm ff str std jh jhd jhdt n.chr v.chr e.v gmbh enz e.d n.v b.v btw mwst",
    # French, Spanish, Italian, Portuguese
    "av bd janv févr juil déc av.j.-c j.-c art ecc a.c d.c s.a s.p.a s.r.l s.l ee.uu uu ltda apto",
    # Polish, Russian
    "itd itp r w gr tys mln mld sp г гг в вв др пр т.д т.п т.н н.э тыс млн млрд руб коп мин сек",
    "ок",
    # Greek, Turkish
    "κ.λπ κλπ κ.ά π.μ μ.μ π.χ μ.χ α.ε vb vs vd cad sok mah apt a.ş ltd şti",
)
"""Abbreviations that end a sentence only if the next word is one that begins sentences."""
BEFORE_NUMBERS = _words("no nos p art arts n s t lib par §")
"""Words that are abbreviations before a number."""
OPENERS = _words(
    "he' here' how' i' it' let' she' that' there' they' we' what' who' you'",
    "a after all also although an and another any as at because before both but by each even for",
    "from given have he her here his how however i if in instead is it its let many more most my",
    "no nobody not note now on once one only other others our see she since so some such that the",
    "their then there therefore these they this those though thus to under until use we what when",
    "where which while who why with without yes you your",
    # German
    "aber alle als am auch auf aus außerdem bei beide bis da dabei dafür daher damit",
    "danach dann darum das dazu dem den denn der deren des deshalb dessen die dies diese dieser",
    "dieses doch dort durch ein eine einem einen einer eines er erst es falls für hier ich ihr",
    "ihre im ist jede jeder jedes jedoch kein keine man mit nach nachdem nicht nur ob oder ohne",
    "sein seine seit sie sind so sobald somit sowohl trotz trotzdem und unser unter viele von vor",
    "war was weil weitere wenn wer wie wir wird wo zu zudem zum zur zwar",
    # French
    "alors après au aucun aussi aux avant avec ce cela celle celui ces cet cette chaque comme",
    "dans depuis donc dès elle elles en ensuite est et il ils je la le les leur leurs lors",
    "lorsque mais même notre nous on or ou où par pendant personne plusieurs pour pourtant puis",
    "quand que quel quelle qui sa sans selon ses si son sous sur toutefois tous tout toute toutes",
    "un une vos votre vous ça c' d' j' l' m' n' qu' s' t'",
    # Spanish, Portuguese, Italian
    "al además ambos aquí así aunque cada como con cuando de del desde después donde dos el ella",
    "ellas ellos entonces entre era es esa ese eso esta estas este esto estos están está fue hay",
    "hasta las lo los luego mientras muchos más ni nada nadie no nos nuestra nuestro otra otro",
    "para pero por porque pues que quien se según ser si sin sino sobre solo son su sus también",
    "tras tu una unas uno unos usted ya él à ainda antes ao aos após as até com contudo da das",
    "depois dessa desse desta deste do e ela elas ele eles em embora enquanto essa esse foi isso",
    "isto já mais mas muitos na nas nenhum ninguém não nossa nosso o onde os ou",
    "outra outro pela pelo porém quando quem são sem seu seus sua suas também todos todas um uma",
    "alla allora anche ancora ai alle altri anzi che chi ci come così cui dal dalla dei della",
    "delle di dopo dove due durante erano fra gli ha hanno il infatti inoltre io la le loro lui",
    "ma mentre nel nella nessuno non ogni ora per perché però più poi prima qual quella quelle",
    "quelli quello questa queste questi questo qui quindi sebbene secondo senza sono sotto sul",
    "sulla suo tra tutti tutte tutto è",
    # Dutch
    "alleen alle als bij bovendien daar daarna dan dat deze die dit door een elke er geen haar",
    "heeft het hier hij hun iedere ik is maar men met na naar niemand niet nog ook om omdat onder",
    "ons onze op over per sinds te tegen toen tot uit van veel voor wanneer was wat we wel wie",
    "wij ze zij zijn zo zonder",
    # Polish
    "ale bo był była było być choć co czy dla dlatego dlaczego do dwa gdy gdyby gdzie go i ich",
    "ile ja jak jako jednak jego jej jest jeśli jeżeli już kiedy kto która które który lub ma",
    "mimo my można na następnie nasz nie nikt o od on ona one oni ono oraz po pod podczas ponadto",
    "potem ponieważ przed przez przy są się ta tak także tam te ten to trwa tu tylko tym u w we",
    "więc wszystkie wszyscy z za ze że żaden",
    # Russian
    "а без более больше будет бы был была были было быть в вам вас вместе во вот все всё вы где",
    "да даже для до его ее её если есть еще ещё же за затем здесь и из или им их к как какой",
    "каждый когда кто ли лишь мы на над не несмотря нет но ну о об однако он она они оно от",
    "поэтому по под после потом потому почему при с сам свои со так также там то тогда только тот",
    "у уже хотя что чтобы эта эти это этот я",
    # Greek
    "ο η το οι τα ένα ένας μια μία και αλλά όμως αν όταν όπως αυτός αυτή αυτό αυτά αυτοί εκεί εδώ",
    "δεν θα να για από με σε στο στη στην στον στις στους κατά μετά πριν τότε ωστόσο επίσης όλα",
    "όλοι κάθε κανείς που πού πώς ποιος του της των τον την τους τις είναι ήταν έχει",
    # Turkish
    "ama ancak ayrıca bazı ben bir biz bu bunlar bunun burada böyle böylece daha diğer en eğer",
    "fakat hem her hiç için ile kim kimse ne neden o onlar onun orada sen siz sonra sonuç şu tüm",
    "ve veya ya çünkü",
)
"""Words that, with a capital letter, begin a sentence far more often than a name."""

UNITS = _words(
    "mm cm dm km kg mg ml cl dl hl kb mb gb tb hz khz mhz ghz kw kwh mw mwh gw mv kv ms ns pc tv",
    "cd dvd pdf bmw sms wc lp kn kt hp ps bp db nm zł kč",
)
"""Words without a vowel that are no abbreviations with a full stop."""
MONTHS = _words(
    "januar jänner jan jän februar feber feb märz mrz april apr mai juni jun juli jul august aug",
    "september sept sep oktober okt november nov dezember dez january february march may june",
    "july october december stycznia lutego marca kwietnia maja czerwca lipca sierpnia września",
    "października listopada grudnia ocak şubat mart nisan mayıs haziran temmuz ağustos eylül ekim",
    "kasım aralık januari februari maart mei augustus marts maj",
)
"""Months behind the day of a date ("5. Mai")."""
AFTER_ORDINALS = MONTHS | _words(
    "jahrhundert jahrhunderts jh jhd jhdt jahrtausend stock stockwerk etage obergeschoss og ug",
    "quartal halbjahr auflage klasse platz liga weltkrieg weltkriegs mal tag tage woche monat",
    "lebensjahr kapitel abschnitt absatz semester runde spieltag bundesliga grades generation kat",
    "yüzyıl wiek wieku piętro piętrze klasa",
)
"""Words behind an ordinal number with a full stop ("19. Jahrhundert")."""
BEFORE_ORDINALS = _words(
    "am im zum zur vom beim der die das den dem des ab bis seit jeder jede jedes jeden jedem ein",
    "eine einen einem sein seine seinem seinen ihr ihre ihrem ihren unser unsere unserem unserer",
    "dieser diese dieses diesem diesen und oder",
)
"""Words before an ordinal number with a full stop ("am 5.")."""
