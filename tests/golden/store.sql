PRAGMA application_id = 1702391908;
PRAGMA user_version = 1;
PRAGMA journal_mode = wal;
BEGIN TRANSACTION;
CREATE TABLE generations (
            key TEXT PRIMARY KEY,
            messages TEXT NOT NULL REFERENCES messages,
            settings TEXT NOT NULL REFERENCES settings,
            sample INTEGER NOT NULL,
            text TEXT NOT NULL,
            finish_reason TEXT NOT NULL CHECK (finish_reason IN ('stop', 'length', 'refused', 'error')),
            tokens_in INTEGER,
            tokens_out INTEGER,
            seconds REAL NOT NULL,
            engine_version TEXT NOT NULL,
            error TEXT,
            created TEXT NOT NULL,
            verbatim INTEGER NOT NULL
        );
INSERT INTO "generations" VALUES('d609e5dbc306a8821f4f66cebe3e26daf46bc28a28a4e142e2a948f0644ad7c1','4cd74cc6267d467a772dc971d0506b98d17e08c02d2752cefc15a3f108effdc6','bead3241f670ac014df3fd4937eca947ec6aa690c19a9e4fbdff8d0fc408d364',0,'Write one passage that answers the query below, worded as it could stand in a document that a search should find.
Be specific: use the names, technical terms, synonyms and abbreviations that such a document would use.
Where you are not certain, write what is most likely, and do not say that you are unsure.
Reply with the passage alone, as plain text of about 100 words: no introduction, title, list or quotation marks.

Query: how long does a flea live (sample 0)','stop',81,83,0.0,'echo 0.1.0',NULL,'2026-12-01T00:28:20.444715+00:00',0);
INSERT INTO "generations" VALUES('32c301d76bbf6e6ce6563c57dba4c1bb11cf2bb5a0b942d0af7881b36507df9c','4cd74cc6267d467a772dc971d0506b98d17e08c02d2752cefc15a3f108effdc6','bead3241f670ac014df3fd4937eca947ec6aa690c19a9e4fbdff8d0fc408d364',1,'Write one passage that answers the query below, worded as it could stand in a document that a search should find.
Be specific: use the names, technical terms, synonyms and abbreviations that such a document would use.
Where you are not certain, write what is most likely, and do not say that you are unsure.
Reply with the passage alone, as plain text of about 100 words: no introduction, title, list or quotation marks.

Query: how long does a flea live (sample 1)','stop',81,83,0.0,'echo 0.1.0',NULL,'2026-12-01T00:28:20.444765+00:00',0);
INSERT INTO "generations" VALUES('b85f578ae5259da0e03bf80abd8f2eea09e49ab37449572eb7a5cea0d0084f9e','5cf3506c05ce3a947bd0f710a9c9a85fbfe80a8e336b8eca1798937088a07453','bead3241f670ac014df3fd4937eca947ec6aa690c19a9e4fbdff8d0fc408d364',0,'Write one passage that answers the query below, worded as it could stand in a document that a search should find.
Be specific: use the names, technical terms, synonyms and abbreviations that such a document would use.
Where you are not certain, write what is most likely, and do not say that you are unsure.
Reply with the passage alone, as plain text of about 100 words: no introduction, title, list or quotation marks.

Query: Was heißt „naïve café“ – genau? (sample 0)','stop',81,83,0.0,'echo 0.1.0',NULL,'2026-12-01T00:28:20.444774+00:00',0);
INSERT INTO "generations" VALUES('188fa03acac09679e8009bf68c6a74e2abe48b899198e3220345f3ce7f4c72df','5cf3506c05ce3a947bd0f710a9c9a85fbfe80a8e336b8eca1798937088a07453','bead3241f670ac014df3fd4937eca947ec6aa690c19a9e4fbdff8d0fc408d364',1,'Write one passage that answers the query below, worded as it could stand in a document that a search should find.
Be specific: use the names, technical terms, synonyms and abbreviations that such a document would use.
Where you are not certain, write what is most likely, and do not say that you are unsure.
Reply with the passage alone, as plain text of about 100 words: no introduction, title, list or quotation marks.

Query: Was heißt „naïve café“ – genau? (sample 1)','stop',81,83,0.0,'echo 0.1.0',NULL,'2026-12-01T00:28:20.444780+00:00',0);
INSERT INTO "generations" VALUES('965ebb86abc35eca2bf58fe48bd2a0a9c8abf7b3007d0833292d92a7f57eee9f','66f6b2cfcba0561f426d38a1688ffe0295d684ea006334b2d619cf85d62883ba','bc10efd8a2b5beed94bf3e690a52ef64ada71affb5e0139f6662fc7cc18ee58b',0,'Fleas live for two to three months.

Their eggs hatch after a few days.','stop',10,5,4.40342030000010709045e-01,'openai 3.57.0, fake-llm',NULL,'2026-12-01T00:28:23.238241+00:00',0);
INSERT INTO "generations" VALUES('a59a73d163179b649cf28dde7d3ce563ea8623c5093b86c2592f7987f2922ffe','33447d44c2aea64cc9998c6edf6953075566ea23f756878bf61b34a9adb6f614','bc10efd8a2b5beed94bf3e690a52ef64ada71affb5e0139f6662fc7cc18ee58b',0,'<think>The user asks about fleas. I should be brief.</think>

Fleas live long.','stop',10,5,3.37417699000070570036e-01,'openai 3.57.0, fake-llm',NULL,'2026-12-01T00:28:23.238268+00:00',0);
INSERT INTO "generations" VALUES('5ebd644d5df20723989db66bb47b390be51b76ed0bb5927899317d311e6f4b6e','f19ca4ac378a1e012856174cfb1d5f7fbfc832f029e99f9a47b75bba327554cc','bc10efd8a2b5beed94bf3e690a52ef64ada71affb5e0139f6662fc7cc18ee58b',0,'','stop',10,5,3.40927650999901743489e-01,'openai 3.57.0, fake-llm',NULL,'2026-12-01T00:28:23.238275+00:00',0);
INSERT INTO "generations" VALUES('25871b82c0a37b4d5b9b86d82f1456178e07f1c060ced6032767289d93ea01bc','135ccc61d242beb06b5bb1828223552a32d1c41abd82950df1dc6907fccf7c95','bc10efd8a2b5beed94bf3e690a52ef64ada71affb5e0139f6662fc7cc18ee58b',0,'Fleas live on cats and on dogs. Their larvae feed on','length',10,5,3.40852320000067265937e-01,'openai 3.57.0, fake-llm',NULL,'2026-12-01T00:28:23.238280+00:00',0);
INSERT INTO "generations" VALUES('c326c8e3b8e3b957a07d7bbef5b8bc25866ab2c995042fafd0b70e12e0ed7b46','968eeed00211d780cfd450506e19cc48eca9656acf155393ed965610d6cc79a8','bc10efd8a2b5beed94bf3e690a52ef64ada71affb5e0139f6662fc7cc18ee58b',0,'Sure! Here is a passage that answers your question:

**Passage:** Fleas live for about *100 days*.

I hope this helps!','stop',10,5,3.56479885999988255207e-01,'openai 3.57.0, fake-llm',NULL,'2026-12-01T00:28:23.238285+00:00',0);
INSERT INTO "generations" VALUES('422a4528a909e40ce266b896b79a6908312350ce10309e19b5e1cc4a905f68ee','236c08e2a0e574e08cbacd336efe9a88fdb91b24c5b116ace09ae87127f65847','bc10efd8a2b5beed94bf3e690a52ef64ada71affb5e0139f6662fc7cc18ee58b',0,'','refused',NULL,NULL,3.48679473000174766639e-01,'openai 3.57.0, fake-llm','content filter','2026-12-01T00:28:23.238289+00:00',0);
INSERT INTO "generations" VALUES('d1206414ade630579c048206d416719a0723a487e6f0c59e895ba48b5e9caeb8','759fb73c21b6e743dd970b29cc3846feb04d2793fbf8e09a21449c8b1d50004d','bc10efd8a2b5beed94bf3e690a52ef64ada71affb5e0139f6662fc7cc18ee58b',0,'','error',NULL,NULL,3.40520187000038276892e-01,'openai 3.57.0','http://127.0.0.1:36615/v1 answered 400: this prompt is too long','2026-12-01T00:28:23.238293+00:00',0);
INSERT INTO "generations" VALUES('0746d075c3939aa10b04031855409db8009fdde4c419e37372397270a94a6fc2','589450c3e3263b4d565353efa7a2db8b96f74044ae01971d4e54e9b5bb4ca81f','bc10efd8a2b5beed94bf3e690a52ef64ada71affb5e0139f6662fc7cc18ee58b',0,'Sure! Here is a passage that stays as it is.','stop',NULL,NULL,0.0,'',NULL,'2026-12-01T00:28:23.443502+00:00',1);
CREATE TABLE leases (batch TEXT PRIMARY KEY, owner TEXT NOT NULL, expires REAL NOT NULL);
CREATE TABLE messages (hash TEXT PRIMARY KEY, messages TEXT NOT NULL, prompt TEXT);
INSERT INTO "messages" VALUES('4cd74cc6267d467a772dc971d0506b98d17e08c02d2752cefc15a3f108effdc6','[{"role": "user", "content": "Write one passage that answers the query below, worded as it could stand in a document that a search should find.\nBe specific: use the names, technical terms, synonyms and abbreviations that such a document would use.\nWhere you are not certain, write what is most likely, and do not say that you are unsure.\nReply with the passage alone, as plain text of about 100 words: no introduction, title, list or quotation marks.\n\nQuery: how long does a flea live"}]','passage@1');
INSERT INTO "messages" VALUES('5cf3506c05ce3a947bd0f710a9c9a85fbfe80a8e336b8eca1798937088a07453','[{"role": "user", "content": "Write one passage that answers the query below, worded as it could stand in a document that a search should find.\nBe specific: use the names, technical terms, synonyms and abbreviations that such a document would use.\nWhere you are not certain, write what is most likely, and do not say that you are unsure.\nReply with the passage alone, as plain text of about 100 words: no introduction, title, list or quotation marks.\n\nQuery: Was hei\u00dft \u201ena\u00efve caf\u00e9\u201c \u2013 genau?"}]','passage@1');
INSERT INTO "messages" VALUES('66f6b2cfcba0561f426d38a1688ffe0295d684ea006334b2d619cf85d62883ba','[{"role": "user", "content": "Write one passage that answers the query below, worded as it could stand in a document that a search should find.\nBe specific: use the names, technical terms, synonyms and abbreviations that such a document would use.\nWhere you are not certain, write what is most likely, and do not say that you are unsure.\nReply with the passage alone, as plain text of about 100 words: no introduction, title, list or quotation marks.\n\nQuery: question plain"}]','passage@1');
INSERT INTO "messages" VALUES('33447d44c2aea64cc9998c6edf6953075566ea23f756878bf61b34a9adb6f614','[{"role": "user", "content": "Write one passage that answers the query below, worded as it could stand in a document that a search should find.\nBe specific: use the names, technical terms, synonyms and abbreviations that such a document would use.\nWhere you are not certain, write what is most likely, and do not say that you are unsure.\nReply with the passage alone, as plain text of about 100 words: no introduction, title, list or quotation marks.\n\nQuery: question thinking"}]','passage@1');
INSERT INTO "messages" VALUES('f19ca4ac378a1e012856174cfb1d5f7fbfc832f029e99f9a47b75bba327554cc','[{"role": "user", "content": "Write one passage that answers the query below, worded as it could stand in a document that a search should find.\nBe specific: use the names, technical terms, synonyms and abbreviations that such a document would use.\nWhere you are not certain, write what is most likely, and do not say that you are unsure.\nReply with the passage alone, as plain text of about 100 words: no introduction, title, list or quotation marks.\n\nQuery: question empty"}]','passage@1');
INSERT INTO "messages" VALUES('135ccc61d242beb06b5bb1828223552a32d1c41abd82950df1dc6907fccf7c95','[{"role": "user", "content": "Write one passage that answers the query below, worded as it could stand in a document that a search should find.\nBe specific: use the names, technical terms, synonyms and abbreviations that such a document would use.\nWhere you are not certain, write what is most likely, and do not say that you are unsure.\nReply with the passage alone, as plain text of about 100 words: no introduction, title, list or quotation marks.\n\nQuery: question truncated"}]','passage@1');
INSERT INTO "messages" VALUES('968eeed00211d780cfd450506e19cc48eca9656acf155393ed965610d6cc79a8','[{"role": "user", "content": "Write one passage that answers the query below, worded as it could stand in a document that a search should find.\nBe specific: use the names, technical terms, synonyms and abbreviations that such a document would use.\nWhere you are not certain, write what is most likely, and do not say that you are unsure.\nReply with the passage alone, as plain text of about 100 words: no introduction, title, list or quotation marks.\n\nQuery: question boilerplate"}]','passage@1');
INSERT INTO "messages" VALUES('236c08e2a0e574e08cbacd336efe9a88fdb91b24c5b116ace09ae87127f65847','[{"role": "user", "content": "Write one passage that answers the query below, worded as it could stand in a document that a search should find.\nBe specific: use the names, technical terms, synonyms and abbreviations that such a document would use.\nWhere you are not certain, write what is most likely, and do not say that you are unsure.\nReply with the passage alone, as plain text of about 100 words: no introduction, title, list or quotation marks.\n\nQuery: question refused"}]','passage@1');
INSERT INTO "messages" VALUES('759fb73c21b6e743dd970b29cc3846feb04d2793fbf8e09a21449c8b1d50004d','[{"role": "user", "content": "Write one passage that answers the query below, worded as it could stand in a document that a search should find.\nBe specific: use the names, technical terms, synonyms and abbreviations that such a document would use.\nWhere you are not certain, write what is most likely, and do not say that you are unsure.\nReply with the passage alone, as plain text of about 100 words: no introduction, title, list or quotation marks.\n\nQuery: question failed"}]','passage@1');
INSERT INTO "messages" VALUES('589450c3e3263b4d565353efa7a2db8b96f74044ae01971d4e54e9b5bb4ca81f','[{"role": "user", "content": "Write one passage that answers the query below, worded as it could stand in a document that a search should find.\nBe specific: use the names, technical terms, synonyms and abbreviations that such a document would use.\nWhere you are not certain, write what is most likely, and do not say that you are unsure.\nReply with the passage alone, as plain text of about 100 words: no introduction, title, list or quotation marks.\n\nQuery: question imported"}]',NULL);
CREATE TABLE settings (hash TEXT PRIMARY KEY, generator TEXT NOT NULL, decoding TEXT NOT NULL);
INSERT INTO "settings" VALUES('bead3241f670ac014df3fd4937eca947ec6aa690c19a9e4fbdff8d0fc408d364','{"engine": "echo", "model": "echo", "revision": null, "adapter": null}','{"temperature": 1.0, "top_p": 0.9, "max_new_tokens": 512, "stop": [], "repetition_penalty": 1.0, "seed": 0}');
INSERT INTO "settings" VALUES('bc10efd8a2b5beed94bf3e690a52ef64ada71affb5e0139f6662fc7cc18ee58b','{"engine": "api", "model": "fake-llm", "revision": null, "adapter": null}','{"temperature": 0.7, "top_p": 0.9, "max_new_tokens": 512, "stop": [], "repetition_penalty": 1.0, "seed": 0}');
COMMIT;
