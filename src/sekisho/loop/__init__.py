"""The verbs, one file each: gather, finetune, prove, bake, promote, judge, audit, correct."""
