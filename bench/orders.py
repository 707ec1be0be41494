#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The workload that everyone is measured on: orders.py N OUT writes N lines of key TAB json. Deterministic."""
import sys, random, json
N=int(sys.argv[1]); out=sys.argv[2]
r=random.Random(20240607)
SUR="王李张刘陈杨黄赵吴周徐孙马朱胡郭何高林罗"; GIV="伟芳娜敏静丽强磊军洋勇艳杰娟涛明超秀霞平刚桂英华玉兰建国海燕"
CITY=["北京市","上海市","广州市","深圳市","杭州市","成都市","武汉市","西安市","南京市","重庆市"]
ST=["人民路","中山路","解放路","建设路","和平路","新华街","长江路","黄河路"]
AREA=["110101","310104","440106","440305","330106","510104","420106","610113","320102","500103"]
PRE=["130","131","135","136","137","138","139","150","151","158","159","176","177","180","186","188","189"]
DOM=["example.com","mail.example.cn","corp.example.org","qq.example.com"]
NOTE=["请在工作日送货","leave at front desk","call before delivery","加急","gift wrap please, no invoice","发票抬头:个人","\"fragile\" handle with care","周末配送"]
W=[7,9,10,5,8,4,2,1,6,3,7,9,10,5,8,4,2]; C="10X98765432"
def idc():
    s=random_area=r.choice(AREA)+"%04d%02d%02d%03d"%(r.randint(1955,2005),r.randint(1,12),r.randint(1,28),r.randint(0,999))
    return s+C[sum(int(a)*b for a,b in zip(s,W))%11]
def card():
    s="62"+"%013d"%r.randrange(10**13)
    t=0
    for i,ch in enumerate(reversed(s)):
        d=int(ch)
        if i%2==0:
            d*=2
            if d>9:d-=9
        t+=d
    return s+str((10-t%10)%10)
with open(out,"w",encoding="utf-8") as f:
    for i in range(N):
        u="".join(r.choice("abcdefghijklmnopqrstuvwxyz") for _ in range(r.randint(5,10)))
        rec={"id":"ORD%010d"%i,"event_time":"2024-%02d-%02dT%02d:%02d:%02d.%03dZ"%(r.randint(1,12),r.randint(1,28),r.randrange(24),r.randrange(60),r.randrange(60),r.randrange(1000)),
         "customer":{"name":r.choice(SUR)+"".join(r.choice(GIV) for _ in range(r.randint(1,2))),"phone":r.choice(PRE)+"%08d"%r.randrange(10**8),"id_card":idc(),
           "email":"%s%d@%s"%(u,r.randrange(1000),r.choice(DOM)),"address":{"city":r.choice(CITY),"street":r.choice(ST)+"%d号"%r.randint(1,999)}},
         "card_number":card(),"amount":round(r.uniform(1,9999),2),
         "items":[{"sku":"SKU-%06d"%r.randrange(10**6),"qty":r.randint(1,9),"price":round(r.uniform(1,999),2)} for _ in range(r.randint(2,3))],
         "notes":r.choice(NOTE)}
        f.write(rec["id"]+"\t"+json.dumps(rec,ensure_ascii=False,separators=(",",":"))+"\n")
