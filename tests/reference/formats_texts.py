"""Named texts of networks, each with what makes it worth reading."""

SPRINKLER = """network sprinkler {
}
variable rain {
  type discrete [ 2 ] { no, yes };
}
variable sprinkler {
  type discrete [ 2 ] { off, on };
}
variable wet {
  type discrete [ 3 ] { dry, damp, soaked };
}
probability ( rain ) {
  table 0.8, 0.2;
}
probability ( sprinkler | rain ) {
  (no) 0.6, 0.4;
  (yes) 0.99, 0.01;
}
probability ( wet | rain, sprinkler ) {
  (no, off) 1.0, 0.0, 0.0;
  (yes, off) 0.2, 0.5, 0.3;
  (no, on) 0.1, 0.6, 0.3;
  (yes, on) 0.0, 0.1, 0.9;
}
"""

BIF = {
    "sprinkler": SPRINKLER,
    "any order": "".join(f"{block}\n}}\n" for block in reversed(SPRINKLER.split("\n}\n")[:-1])),
    "one line": "variable a{type discrete[2]{x,y};}probability(a){table .25 .75;}",
    "javabayes": """// made by hand
network "Dog-Problem" { property "credal-set constant-density-bounded 1.1" ; }
variable "light-on" { //2 values
  type discrete[2] { "true"  "false" };
  property "position = (218, 195)" ;
}
variable "family-out" { property position = (1.0, [2], 3 | x); type discrete[2] { "true" "false" }; }
variable "dog-out" { type discrete[2] { "true" "false" }; }
probability ( "light-on" "family-out" ) { table 0.6 0.05 0.4 0.95 ; }
probability ( "dog-out" "light-on" "family-out" ) { table 0.99 0.97 0.9 0.3 0.01 0.03 0.1 0.7 ; }
probability ( "family-out" ) { property a; default 0.15 /* no table */ 0.85 ; }
""",
    "default": """variable a { type discrete [ 2 ] { p, q }; } variable b { type discrete [ 3 ] { p, q, r }; }
variable c { type discrete [ 2 ] { p, q }; }
probability ( a ) { table 0.5, 0.5; } probability ( b ) { table 1, 0, 0; }
probability ( c | a, b ) { default 0.25, 0.75; (q, r) 1.0, 0.0; (p, q) 0.125, 0.875; }""",
    "odd names": """variable CO2 { type discrete [ 4 ] { <7.5, >=7.5, 5-10, Asy/Patch }; }
variable "two words" { type discrete [ 3 ] { "a, b", "{c}", 1.5 }; }
variable x.y+z { type discrete [ 2 ] { "//", -1 }; }
probability ( CO2 ) { table 0.1, 0.2, 0.3, 0.4; }
probability ( "two words" | CO2 ) { default 0.5, 0.25, 0.25; (Asy/Patch) 0, 0, 1; }
probability ( x.y+z | "two words", CO2 ) { default 0.5, 0.5; ("a, b", <7.5) 1, 0; ("{c}", >=7.5) 0.1, 0.9; }""",
    "reserved names": """variable shape { type discrete [ 2 ] { a, b }; }
variable given { type discrete [ 2 ] { a, b }; }
variable network { type discrete [ 2 ] { table, default }; } variable seed { type discrete [ 2 ] { a, b }; }
variable variable { type discrete [ 2 ] { property, type }; }
probability ( shape ) { table 0.5, 0.5; } probability ( given | shape ) { (a) 0.1, 0.9; (b) 0.7, 0.3; }
probability ( network | given ) { (a) 0.1, 0.9; (b) 0.7, 0.3; }
probability ( variable | network ) { (table) 0.1, 0.9; (default) 0.7, 0.3; }
probability ( seed | variable, shape ) { default 0.2, 0.8; }""",
    "unicode": """variable größe { type discrete [ 2 ] { klein, groß }; }
variable 大きさ { type discrete [ 2 ] { 小, 大 }; }
probability ( größe ) { table 0.5, 0.5; } probability ( 大きさ | größe ) { (klein) 1, 0; (groß) 0.5, 0.5; }""",
    "comments": """/* variable a { */ variable a // one
{ type /* , */ discrete [ /* many */ 2 ] { x /* , */ , y // }
}; } probability ( a ) { // table
table 0.25, /* 0.5 */ 0.75 // ;
; } //""",
    "one state": "variable a { type discrete [1] { only }; } probability ( a ) { table 1; }",
    "rounded": """variable a { type discrete [3] { x, y, z }; } variable b { type discrete [3] { x, y, z }; }
probability ( a ) { table 0.3333, 0.3333, 0.3333; }
probability ( b | a ) { (x) 5.766701e-01, 4.232872e-01, 4.271314e-05; (y) 0.99996, 0, 0; (z) 1e-300, 0.5, 0.5; }""",
    "tiny and exact": """variable a { type discrete [3] { x, y, z }; }
probability ( a ) { table 4.9406564584124654e-324, 0.1234567890123456789, 0.876543210987654321; }""",
}

UAI = {
    "markov": "MARKOV\n3\n2 2 3\n2\n2 0 1\n2 1 2\n\n4\n 1.0 2.0\n 0.5 0.25\n\n6\n 1 2 3\n 4 5 6\n",
    "bayes": "BAYES\n3\n2 2 3\n3\n1 0\n2 0 1\n2 1 2\n2\n.436 .564\n4\n.1 .9\n.92 .08\n6\n.21 .333 .457\n.811 0 .189",
    "bayes, child before parents": "BAYES 3 2 2 2 3 3 1 2 0 1 2 1 1 8 .1 .9 .2 .8 .3 .7 .4 .6 2 1 0 2 .5 .5",
    "one line": "MARKOV 2 2 3 1 2 1 0 6 1 2 3 4 5 6",
    "hard zeros": "MARKOV 2 2 2 2 2 0 1 1 1 4 0 1 1 0 2 0.0 0e5",
    "impossible": "MARKOV 2 2 2 1 2 0 1 4 0 0 0 0",
    "constant": "MARKOV 2 2 2 3 0 2 0 1 0 1 2.5 4 1 2 3 4 1 0",
    "constant alone": "MARKOV 1 3 1 0 1 7",
    "no factor at all": "MARKOV 3 2 1 4 0",
    "a variable in no factor": "MARKOV 4 2 3 2 5 1 2 0 2 4 1 2 3 4",
    "one state": "MARKOV 3 1 2 1 2 3 0 1 2 2 0 2 2 .25 4 1 1",
    "repeated scopes": "MARKOV 2 2 2 3 2 0 1 2 1 0 2 0 1 4 1 2 3 4 4 1 2 3 4 4 5 6 7 8",
    "signs and exponents": "MARKOV 1 3 1 1 0 3 +1.5e+10 2.E-3 .125",
    "far apart": "MARKOV 1 4 1 1 0 4 1e300 1e-300 4.9406564584124654e-324 1.7976931348623157e308",
}
